//! Random meshes, inputs, weights and collectives print and read back as themselves.

use cranelift_entity::PrimaryMap;
use meshwright_plan::kernel::{Access, Attention, Collective, Exchange, KernelDim, Operand, Reduce, Role, Skeleton};
use meshwright_plan::mesh::{Axis, Coordinate, Mesh};
use meshwright_plan::{Arena, DimSize, Element, Flat, Init, Input, KernelData, Limit, Plan, Region, RegionData, RegionKind, Rest, Weight};
use meshwright_plan::{parse, print, summary, verify};
use proptest::prelude::*;

/// Words that the text uses for something else, too.
const NAMES: [&str; 9] = ["data", "tensor", "back", "times", "piece", "of", "a b", "", "in"];

struct Dice<'a>(std::slice::Iter<'a, u32>);

impl Dice<'_> {
    fn below(&mut self, count: u64) -> u64 {
        self.0.next().map_or(0, |number| u64::from(*number) % count.max(1))
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.below(2) == 0 { None } else { Some(make(self)) }
    }

    fn many<T>(&mut self, most: u64, mut make: impl FnMut(&mut Self, usize) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|index| make(self, index as usize)).collect()
    }

    fn axes(&mut self) -> Vec<String> {
        self.many(3, |dice, _| dice.pick(&NAMES).to_owned())
    }

    fn coordinate(&mut self) -> Coordinate {
        Coordinate { axes: self.axes(), times: self.below(5), back: self.below(3), second: self.below(2) == 1 }
    }

    fn dims(&mut self) -> Vec<DimSize> {
        self.many(3, |dice, _| {
            let (name, size, axes) = (dice.pick(&NAMES).to_owned(), dice.below(9), dice.axes());
            // what is balanced is not padded
            let (balanced, padding) = [(false, 0), (true, 0), (false, 1 + dice.below(3))][dice.below(3) as usize];
            DimSize { name, size, axes, balanced, padding }
        })
    }

    fn rest(&mut self, count: u64) -> Rest {
        let stride = if count == 1 { 0 } else { self.below(99) };
        let flat = self.maybe(|dice| Flat { axes: dice.axes(), bytes: dice.below(99), start: dice.below(3) });
        Rest { region: Region::from_u32(self.below(2) as u32), offset: self.below(3), stride, flat }
    }

    fn reduce(&mut self) -> Reduce {
        self.pick(&[Reduce::Sum, Reduce::Max, Reduce::Min, Reduce::Argmax])
    }

    fn skeleton(&mut self) -> Skeleton {
        let exchange = match self.below(7) {
            0 => Exchange::AllGather,
            1 => Exchange::ReduceScatter(self.reduce()),
            2 => Exchange::AllReduce(self.reduce()),
            3 => Exchange::AllToAll { from: self.pick(&NAMES).to_owned(), to: self.pick(&NAMES).to_owned() },
            4 => Exchange::Permute { by: self.below(9) },
            5 => return Skeleton::Attention(self.attention()),
            _ => return Skeleton::AttentionGrad(self.attention()),
        };
        Skeleton::Collective(Collective { exchange, axes: self.axes() })
    }

    fn attention(&mut self) -> Attention {
        let (query, key) = (self.maybe(Self::coordinate), self.maybe(Self::coordinate));
        let (causal, window) = (self.below(2) == 0, self.maybe(|dice| dice.below(9)));
        Attention { query, key, scale: 0.5, causal, window, balanced: self.below(2) == 1 }
    }
}

fn kernel(dice: &mut Dice<'_>) -> KernelData {
    let roles = [Role::Row, Role::Member, Role::Query, Role::Key];
    let dim =
        |dice: &mut Dice<'_>, at| KernelDim { name: format!("D{at}"), size: dice.below(5), role: dice.pick(&roles), axes: dice.axes() };
    let dims: PrimaryMap<_, _> = dice.many(4, dim).into_iter().collect();
    let operand = |dice: &mut Dice<'_>, at| Operand {
        name: format!("o{at}"),
        element: dice.pick(&[Element::F32, Element::I32]),
        access: dice.pick(&[Access::Read, Access::Write, Access::Accumulate]),
        strides: (0..dims.len()).map(|_| dice.below(9) as i64).collect(),
        extent: dice.below(99),
    };
    let operands = dice.many(3, operand).into_iter().collect();
    KernelData { name: dice.pick(&NAMES).to_owned(), dims, operands, skeleton: dice.skeleton() }
}

fn plan(numbers: &[u32]) -> Plan {
    let mut dice = Dice(numbers.iter());
    let axes = NAMES[..dice.below(NAMES.len() as u64) as usize].iter();
    let axes = axes.map(|name| Axis { name: (*name).to_owned(), size: dice.below(9) }).collect();
    let region = |name: &str| RegionData { name: name.into(), kind: RegionKind::Gathered, offset: 0, bytes: 64 };
    let arena = Arena { bytes: 128, regions: ["weights", "gradient"].map(region).into_iter().collect() };
    let input = |dice: &mut Dice<'_>, at| Input {
        name: format!("i{at}"),
        element: Element::I32,
        bound: dice.maybe(|dice| dice.below(9)),
        dims: dice.dims(),
        region: Region::from_u32(0),
    };
    let weight = |dice: &mut Dice<'_>, at| {
        let (path, count) = (format!("w{at}"), 1 + dice.below(2));
        let (dims, rest) = (dice.dims(), dice.rest(count));
        Weight { path, count, dims, init: Init::Constant(1.0), rest, gradient: dice.maybe(|dice| dice.rest(count)) }
    };
    let limit = |dice: &mut Dice<'_>, _| Limit {
        entry: dice.pick(&NAMES).to_owned(),
        path: dice.pick(&NAMES).to_owned(),
        dim: dice.pick(&NAMES).to_owned(),
        bound: dice.below(9),
        region: Region::from_u32(dice.below(2) as u32),
        offset: dice.below(3),
        count: dice.below(3),
    };
    let (inputs, weights, limits) = (dice.many(2, input), dice.many(3, weight), dice.many(2, limit));
    let kernels = dice.many(3, |dice, _| kernel(dice)).into_iter().collect();
    let microbatches = 1 + dice.below(3);
    Plan { name: "P".into(), mesh: Mesh { axes }, microbatches, arena, inputs, weights, limits, kernels, ..Plan::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plans_read_back(numbers in prop::collection::vec(any::<u32>(), 20..300)) {
        let mut plan = plan(&numbers);
        plan.canonical();
        let text = print::print(&plan);
        let read = parse::parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(&read, &plan, "{}", text);
        prop_assert_eq!(print::print(&read), text);
        let _ = verify::verify(&plan);
        let _ = summary::summary(&plan).to_string();
    }
}
