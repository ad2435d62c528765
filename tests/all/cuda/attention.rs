//! Attention on tensor cores, against the processor: kernels written by hand, of all sizes, masks and places that the functions tell apart.
//!
//! Ensures for each what `every_kernel_computes_what_the_processor_does` ensures, and that what does not suit tensor cores falls back.

use super::agree;
use super::kernels::Found;
use crate::emulate::parallel::processors;
use meshwright_plan::kernel::KernelData;
use meshwright_plan::mesh::{Axis, Mesh};
use meshwright_plan::{Plan, parse};
use meshwright_runtime::device::cuda::emit::{Source, source};
use std::collections::BTreeMap;

/// An attention and its gradient.
#[derive(Clone, Copy)]
struct Case {
    /// Batches, key-value heads, query heads of each.
    heads: [usize; 3],
    /// Queries, keys.
    rows: [usize; 2],
    /// Features, values.
    columns: [usize; 2],
    /// Scale, mask, and where queries and keys stand.
    settings: &'static str,
    /// How q, k, v, dout and (the second) out and gradients are stored.
    stored: [&'static str; 2],
    /// The order of a query's dims behind its batch, and that of a key's.
    layout: [&'static str; 2],
}

const PLAIN: Case = Case {
    heads: [1, 2, 1],
    rows: [130, 130],
    columns: [64, 64],
    settings: "scale 0.125 causal",
    stored: ["bf16", "bf16"],
    layout: ["S, H, G", "T, H"],
};

/// Cases for tensor cores: sizes on both sides of every tile's edge, masks, groups, other places.
const CASES: [Case; 16] = [
    PLAIN,
    Case { rows: [256, 256], heads: [1, 1, 1], ..PLAIN },
    Case { columns: [128, 128], settings: "scale 0.0884 causal", heads: [1, 1, 2], ..PLAIN },
    Case { columns: [128, 128], settings: "scale 0.0884", rows: [150, 200], ..PLAIN },
    Case { columns: [16, 16], settings: "scale 0.25", rows: [70, 90], heads: [2, 2, 3], ..PLAIN },
    Case { columns: [48, 48], settings: "scale 0.2 causal window 40", rows: [200, 200], ..PLAIN },
    Case { columns: [32, 80], settings: "scale 1 window 70", rows: [100, 290], ..PLAIN },
    Case { columns: [96, 16], settings: "scale 0.1 causal", rows: [33, 64], layout: ["H, G, S", "H, T"], ..PLAIN },
    Case { columns: [128, 64], settings: "scale 0.0884 causal window 1", ..PLAIN },
    // more queries than keys, and one query: keys of a cache
    Case { rows: [300, 5], settings: "scale 0.125 causal", ..PLAIN },
    Case { rows: [1, 300], settings: "scale 0.125", heads: [3, 2, 2], ..PLAIN },
    // the own part, keys of the part before it (of the first rank's queries none is seen), balanced parts, and the same of another rank
    Case { rows: [128, 128], settings: "scale 0.125 causal query coord(context, times 128) key coord(context, times 128)", ..PLAIN },
    Case { rows: [70, 70], settings: "scale 0.125 causal query coord(context, times 70) key coord(context back 1, times 70)", ..PLAIN },
    Case { rows: [140, 140], settings: "scale 0.1 causal balanced query coord(context, times 70) key coord(context, times 70)", ..PLAIN },
    Case {
        rows: [140, 140],
        columns: [128, 128],
        heads: [1, 1, 2],
        settings: "scale 0.1 causal window 90 balanced query coord(context, times 70) key coord(context back 1, times 70)",
        ..PLAIN
    },
    Case { stored: ["bf16", "f32"], ..PLAIN },
];

/// Scores so far apart that the largest one is renewed in the middle of a row; exponentials of the gradient's random `lse` would be infinite.
const STEEP: Case = Case { rows: [250, 250], settings: "scale 3 causal", ..PLAIN };

/// Of the size of models that are trained, too large to be played: GPT-2's, and Llama 3's 8B.
const LARGE: [Case; 2] = [
    Case { heads: [8, 12, 1], rows: [1024, 1024], ..PLAIN },
    Case { heads: [2, 8, 4], rows: [8192, 8192], columns: [128, 128], settings: "scale 0.0884 causal", ..PLAIN },
];

/// Cases that do not suit.
const OTHERS: [Case; 5] = [
    Case { stored: ["f32", "bf16"], ..PLAIN },
    Case { columns: [24, 24], ..PLAIN },
    Case { columns: [16, 144], rows: [40, 40], ..PLAIN },
    Case { settings: "scale -0.125 causal", ..PLAIN },
    // columns that do not lie side by side
    Case { layout: ["S, H, G, D", "T, D, H"], rows: [40, 40], ..PLAIN },
];

impl Case {
    fn kernels(&self) -> [KernelData; 2] {
        let Case { heads: [b, h, g], rows: [s, t], columns: [d, e], settings, stored: [read, written], layout: [query, key] } = self;
        let view = |stored: &str, rows: &str, column: &str| {
            let rows = rows.replace('D', column);
            if rows.contains(column) { format!("{stored}[B, {rows}]") } else { format!("{stored}[B, {rows}, {column}]") }
        };
        let [q, k, v] = [view(read, query, "D"), view(read, key, "D"), view(read, key, "E")];
        let [out, dout, dq] = [view(written, query, "E"), view(read, query, "E"), view(written, query, "D")];
        let [dk, dv] = [view(written, key, "D"), view(written, key, "E")];
        let dims = format!("batch [B {b}, H {h}] m [G {g}] query [S {s}] key [T {t}] feature [D {d}] value [E {e}] {settings}");
        let inputs = format!("q: {q}; k: {k}; v: {v}");
        let forward = format!("kernel k0 attend attention {dims}\n  read {inputs}\n  write out: {out}; lse: f32[B, H, G, S]\n");
        let read = format!("{inputs}; out: {out}; lse: f32[B, H, G, S]; dout: {dout}");
        let write = format!("dq: {dq}; dk: {dk}; dv: {dv}");
        let backward =
            format!("kernel k1 attend_grad attention_grad {dims}\n  read {read}\n  write {write}\n  scratch dots: f32[B, H, G, S]\n");
        [forward, backward].map(|text| parse::kernel(&text).unwrap_or_else(|error| panic!("{error}\n{text}")))
    }

    fn found(&self) -> [Found; 2] {
        let mesh = Mesh { axes: vec![Axis { name: "context".into(), size: 3 }] };
        self.kernels().map(|kernel| Found {
            spec: format!("{:?} queries and keys, {:?} features and values, {}", self.rows, self.columns, self.settings),
            kernel,
            mesh: mesh.clone(),
            scalars: BTreeMap::new(),
        })
    }

    fn source(&self) -> Source {
        source(&Plan { kernels: self.kernels().into_iter().collect(), ..Plan::default() }).expect("functions")
    }
}

/// The source of all cases for tensor cores, and of large ones.
pub fn on_tensor_cores() -> Source {
    let kernels = CASES.iter().chain(&LARGE).flat_map(Case::kernels).collect();
    source(&Plan { kernels, ..Plan::default() }).expect("functions")
}

#[test]
fn attention_in_bf16_computes_what_the_processor_does() {
    let [steep, _] = STEEP.found();
    let all: Vec<Found> = CASES.iter().chain(&OTHERS).flat_map(Case::found).chain([steep]).collect();
    agree(&all, &[], 2 * processors());
}

#[test]
fn what_suits_goes_to_tensor_cores() {
    let on = |case: &Case| -> Vec<bool> {
        case.source().kernels.values().flatten().map(|function| function.text.contains("mw_attention_mma")).collect()
    };
    for case in &CASES {
        assert_eq!(on(case), [true; 4], "{}", case.found()[0].spec);
        assert!(!case.source().hardware.is_empty());
    }
    for case in &OTHERS {
        assert_eq!(on(case), [false; 4], "{}", case.found()[0].spec);
        assert!(case.source().hardware.is_empty());
    }
}
