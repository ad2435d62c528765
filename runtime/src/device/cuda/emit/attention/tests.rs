//! Claims about the text of attention: functions, their launches, what of a kernel becomes a constant, and what is refused.

use super::super::{Function, Names};
use super::{emit as emitted, suits_tensor_cores};
use meshwright_plan::Element;
use meshwright_plan::kernel::{Attention, KernelData, Skeleton};
use meshwright_plan::mesh::Coordinate;

/// Forward or backward over 130 queries and 70 keys, two batches of two key-value heads with three query heads each.
fn kernel(grad: bool, feature: usize, mask: &str) -> KernelData {
    sized(grad, [feature, 24], mask)
}

fn sized(grad: bool, [feature, value]: [usize; 2], mask: &str) -> KernelData {
    let dims = format!("batch [B 2, H 2] m [G 3] query [S 130] key [T 70] feature [D {feature}] value [E {value}] scale 0.25 {mask}");
    let inputs = "q: f32[B, S, H, G, D]; k: f32[B, T, H, D]; v: f32[B, T, H, E]";
    let results = "out: f32[B, S, H, G, E]; lse: f32[B, H, G, S]";
    let gradients = "dq: f32[B, S, H, G, D]; dk: f32[B, T, H, D]; dv: f32[B, T, H, E]";
    let text = if grad {
        let read = format!("{inputs}; {results}; dout: f32[B, S, H, G, E]");
        format!("kernel k0 \"the grad\" attention_grad {dims}\n  read {read}\n  write {gradients}\n  scratch dots: f32[B, H, G, S]\n")
    } else {
        format!("kernel k0 attend attention {dims}\n  read {inputs}\n  write {results}\n")
    };
    meshwright_plan::parse::kernel(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn emit(kernel: &KernelData, coordinates: &[Coordinate]) -> Result<Vec<Function>, String> {
    let names = Names { scalars: &[], coordinates };
    let (Skeleton::Attention(attention) | Skeleton::AttentionGrad(attention)) = &kernel.skeleton else {
        panic!("the kernel is not attention")
    };
    emitted(7, kernel, attention, names, suits_tensor_cores(kernel, attention))
}

fn launches(kernel: &KernelData) -> Vec<(String, u32, u32)> {
    let functions = emit(kernel, &[]).expect("functions");
    functions.into_iter().map(|function| (function.name, function.grid, function.threads)).collect()
}

#[test]
fn forward_has_a_block_for_each_head_and_tile_of_queries() {
    assert_eq!(launches(&kernel(false, 16, "")), [("k7_attend".to_string(), 12 * 3, 128)]);
    assert_eq!(launches(&kernel(false, 200, "")), [("k7_attend".to_string(), 12 * 5, 128)], "wide rows have smaller tiles");
}

#[test]
fn backward_sums_keys_over_a_group_in_one_block() {
    let want = [("k7_the_grad_dots", 12 * 130 / 8, 256), ("k7_the_grad_keys", 4 * 2, 256), ("k7_the_grad_queries", 12 * 3, 128)];
    assert_eq!(launches(&kernel(true, 16, "causal")), want.map(|(name, grid, threads)| (name.to_string(), grid, threads)));
}

#[test]
fn the_shape_stands_once_and_before_its_users() {
    let functions = emit(&kernel(true, 16, ""), &[]).expect("functions");
    let holders: Vec<bool> = functions.iter().map(|function| function.text.starts_with("struct k7_the_grad_shape {")).collect();
    assert_eq!(holders, [true, false, false]);
    assert!(functions.iter().all(|function| function.text.contains("<k7_the_grad_shape>(")));
}

#[test]
fn masks_and_positions_are_constants_of_the_shape() {
    let text = |mask: &str, coordinates: &[Coordinate]| emit(&kernel(false, 16, mask), coordinates).expect("a function")[0].text.clone();
    let has = |text: &str, parts: &[&str]| parts.iter().for_each(|part| assert!(text.contains(part), "no `{part}` in\n{text}"));
    has(&text("", &[]), &["window = 0;", "causal = false;", "scale = 0.25f;", "first(const mw_step* step) { return 0; }"]);
    has(&text("causal window 9", &[]), &["window = 9;", "causal = true;", "size = 130, run = 130;"]);
    let mut balanced = kernel(false, 16, "causal");
    let own = |second| Coordinate { axes: vec!["context".into()], times: 65, back: 0, second };
    let Skeleton::Attention(shape) = &mut balanced.skeleton else { panic!("the kernel is attention") };
    *shape = Attention { query: Some(own(false)), balanced: true, ..shape.clone() };
    let two = emit(&balanced, &[own(true), own(false)]).expect("a function")[0].text.clone();
    has(
        &two,
        &["size = 130, run = 65;", "first(const mw_step* step) { return step->coordinates[1]; }", "{ return step->coordinates[0]; }"],
    );
    has(&two, &["size = 70, run = 70;"]);
    assert_eq!(emit(&balanced, &[own(false)]).expect_err("half of the coordinates"), "a coordinate is unknown");
}

#[test]
fn wide_features_and_wrong_operands_are_refused() {
    assert!(emit(&kernel(true, 256, ""), &[]).is_ok());
    assert_eq!(emit(&kernel(true, 257, ""), &[]).expect_err("too wide"), "its queries or values have more than 256 elements");
    let (mut grad, plain) = (kernel(true, 16, ""), kernel(false, 16, ""));
    grad.skeleton = plain.skeleton;
    assert_eq!(emit(&grad, &[]).expect_err("ten operands"), "it has 10 operands, not 5");
}

/// All operands but `lse` and `dots` in two bytes.
fn narrow(mut kernel: KernelData) -> KernelData {
    let wide = ["lse", "dots"];
    kernel
        .operands
        .values_mut()
        .filter(|operand| !wide.contains(&operand.name.as_str()))
        .for_each(|operand| operand.element = Element::Bf16);
    kernel
}

#[test]
fn bf16_goes_to_tensor_cores_where_rows_are_aligned() {
    let names = Names { scalars: &[], coordinates: &[] };
    let given = |kernel: &KernelData, aligned: bool| {
        let Skeleton::AttentionGrad(attention) = &kernel.skeleton else { panic!("the kernel is a gradient") };
        let functions = emitted(7, kernel, attention, names, aligned && suits_tensor_cores(kernel, attention)).expect("functions");
        let of = |function: Function| (function.text.contains("mw_attention_mma_"), function.grid, function.threads, function.shared);
        functions.into_iter().map(of).collect::<Vec<_>>()
    };
    let kernel = |feature: usize| narrow(sized(true, [feature, 32], "causal"));
    // 16 queries a block of dots; 80 keys in three warps, 130 queries in two blocks of four
    let stages = 2 * 64 * 2 * (48 + 32) + 1024;
    let wanted = vec![(true, 98, 256, 0), (true, 4, 96, stages + 96 * (8 + 64)), (true, 24, 128, stages + 128 * 8)];
    assert_eq!(given(&kernel(48), true), wanted);
    assert!(given(&kernel(48), false).iter().all(|function| !function.0), "a place may be anywhere");
    assert!(given(&kernel(40), true).iter().all(|function| !function.0), "rows of 40 are no strips of 16");
    assert!(given(&self::kernel(true, 48, ""), true).iter().all(|function| !function.0), "f32 stays f32");
}
