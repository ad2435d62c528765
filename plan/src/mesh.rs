//! The mesh of devices that a plan is for: named axes, and who belongs together along them.
//!
//! Ranks are numbered row-major over the axes, the first axis slowest. A *group* along some axes is all ranks that differ only there; a rank's
//! *number* along them counts row-major over those axes as listed, major first.

/// Named axes with their sizes. No axes: one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mesh {
    /// Slowest first.
    pub axes: Vec<Axis>,
}

/// One axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its name in the user's text: `data`; of a factored axis, with the factor's number: `tensor.0`.
    pub name: String,
    /// Ranks along it, at least 1.
    pub size: u64,
}

/// A number that depends on where in the mesh a rank stands: `d * times`, where `d = (c + size - back) mod size`, `c` is the rank's number along `axes`
/// and `size` how many there are; or of the second run of a balanced part, `(2 * size - 2 - d) * times`.
///
/// A dim that is cut into balanced parts has `2 * size` chunks, and the rank with number `d` holds chunks `d` and `2 * size - 1 - d`, in this order: with
/// chunks of `times` elements its element `i` is element `i + d * times` of the whole in the first run, `i + (2 * size - 2 - d) * times` in the second.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Coordinate {
    /// Major first.
    pub axes: Vec<String>,
    /// Factor.
    pub times: u64,
    /// Whose number it is: that of the rank so many places before this one, around the ring.
    pub back: u64,
    /// It is about the second run of a balanced part.
    pub second: bool,
}

/// The axis that a user's text writes for an axis of this name: `tensor` for `tensor.0`.
pub fn base(name: &str) -> &str {
    name.split_once('.').map_or(name, |(base, _)| base)
}

impl Mesh {
    /// How many ranks there are.
    pub fn ranks(&self) -> u64 {
        self.axes.iter().fold(1, |ranks, axis| ranks.saturating_mul(axis.size))
    }

    /// The size of one axis; 1 for an axis that does not exist.
    pub fn size_of(&self, name: &str) -> u64 {
        self.axes.iter().find(|axis| axis.name == name).map_or(1, |axis| axis.size)
    }

    /// How many ranks a group along `axes` has.
    pub fn size(&self, axes: &[String]) -> u64 {
        axes.iter().fold(1, |size, name| size.saturating_mul(self.size_of(name)))
    }

    /// The number of `rank` along `axes`.
    pub fn number(&self, rank: u64, axes: &[String]) -> u64 {
        axes.iter().fold(0, |number, name| number * self.size_of(name) + self.coordinate(rank, name))
    }

    /// The ranks of `rank`'s group along `axes`, in the order of their numbers.
    pub fn group(&self, rank: u64, axes: &[String]) -> Vec<u64> {
        let own: u64 = axes.iter().map(|name| self.coordinate(rank, name) * self.stride(name)).sum();
        (0..self.size(axes)).map(|number| rank - own + self.offset(number, axes)).collect()
    }

    /// The value of a coordinate on `rank`.
    pub fn value(&self, rank: u64, coordinate: &Coordinate) -> u64 {
        let size = self.size(&coordinate.axes);
        let number = (self.number(rank, &coordinate.axes) + size - coordinate.back % size) % size;
        let run = if coordinate.second { 2 * size - 2 - number } else { number };
        run * coordinate.times
    }

    fn coordinate(&self, rank: u64, name: &str) -> u64 {
        rank / self.stride(name) % self.size_of(name)
    }

    /// Ranks between neighbours along an axis.
    fn stride(&self, name: &str) -> u64 {
        self.axes.iter().rev().take_while(|axis| axis.name != name).map(|axis| axis.size).product()
    }

    /// What the member with this number adds to the rank of member 0.
    fn offset(&self, mut number: u64, axes: &[String]) -> u64 {
        let mut offset = 0;
        for name in axes.iter().rev() {
            offset += number % self.size_of(name) * self.stride(name);
            number /= self.size_of(name);
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh() -> Mesh {
        let axis = |name: &str, size| Axis { name: name.into(), size };
        Mesh { axes: vec![axis("pipe", 2), axis("data", 4), axis("tensor", 2)] }
    }

    #[test]
    fn groups_differ_only_along_their_axes_and_are_in_order() {
        let (data, tensor) = ("data".to_string(), "tensor".to_string());
        assert_eq!(mesh().group(11, std::slice::from_ref(&data)), [9, 11, 13, 15]);
        assert_eq!(mesh().group(9, &[tensor.clone(), data.clone()]), [8, 10, 12, 14, 9, 11, 13, 15]);
        for axes in [vec![], vec![data.clone()], vec![tensor.clone(), data.clone()], vec![data, tensor]] {
            for rank in 0..mesh().ranks() {
                let group = mesh().group(rank, &axes);
                assert_eq!(group[mesh().number(rank, &axes) as usize], rank);
            }
        }
    }

    #[test]
    fn a_coordinate_looks_back_around_the_ring() {
        let own = |back| Coordinate { axes: vec!["data".into()], times: 10, back, second: false };
        assert_eq!((0..4).map(|back| mesh().value(3, &own(back))).collect::<Vec<_>>(), [10, 0, 30, 20]);
    }

    #[test]
    fn balanced_parts_hold_every_element_once_and_the_first_with_the_last() {
        let run = |second| Coordinate { axes: vec!["data".into()], times: 3, back: 0, second };
        let element = |rank: u64, i: u64| i + mesh().value(2 * rank, &run(i >= 3));
        assert_eq!((0..6).map(|i| element(0, i)).collect::<Vec<_>>(), [0, 1, 2, 21, 22, 23]);
        assert_eq!((0..6).map(|i| element(3, i)).collect::<Vec<_>>(), [9, 10, 11, 12, 13, 14]);
        let mut all: Vec<u64> = (0..4).flat_map(|rank| (0..6).map(move |i| element(rank, i))).collect();
        all.sort_unstable();
        assert_eq!(all, (0..24).collect::<Vec<_>>());
    }
}
