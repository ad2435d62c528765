//! Tests only: the skeletons that have no body.
//!
//! Requires and ensures what the parent module does.

use super::Machine;
use meshwright_plan::kernel::{Attention, Axis, Role, Slot};

fn slot(index: u32) -> Slot {
    Slot::from_u32(index)
}

impl Machine<'_> {
    fn role(&self, at: usize) -> Role {
        self.kernel.dims[Axis::from_u32(at as u32)].role
    }

    /// All points of dims of these roles.
    fn over(&self, roles: &[Role]) -> Vec<Vec<u64>> {
        self.points(|at| roles.contains(&self.role(at)))
    }

    fn read(&self, index: u32, points: &[&Vec<u64>]) -> f64 {
        self.load(slot(index), points.iter().map(|point| self.at(slot(index), point)).sum())
    }

    /// The index along the only dim of a role.
    fn index(&self, role: Role, point: &[u64]) -> u64 {
        (0..point.len()).filter(|at| self.role(*at) == role).map(|at| point[at]).sum()
    }

    fn one_each(&self, roles: &[Role]) {
        for role in roles {
            assert_eq!(self.kernel.dims.values().filter(|dim| dim.role == *role).count(), 1, "one dim of role {role:?}");
        }
    }
}

/// A matrix product.
pub fn contract(machine: &mut Machine<'_>, alpha: f64) {
    machine.one_each(&[Role::M, Role::N, Role::K]);
    let summed = machine.over(&[Role::K]);
    for point in machine.over(&[Role::Batch, Role::M, Role::N]) {
        let sum: f64 = summed.iter().map(|k| machine.read(0, &[&point, k]) * machine.read(1, &[&point, k])).sum();
        let element = machine.at(slot(2), &point);
        machine.store(slot(2), element, alpha * sum, machine.adds);
    }
}

/// A sum by index.
pub fn segmented(machine: &mut Machine<'_>) {
    machine.one_each(&[Role::Segment]);
    let (rows, lanes) = (machine.over(&[Role::Row]), machine.over(&[Role::Lane]));
    let segment = (0..machine.kernel.dims.len()).position(|at| machine.role(at) == Role::Segment).expect("there is one");
    for point in machine.over(&[Role::Batch, Role::Segment]) {
        let mut batch = point.clone();
        batch[segment] = 0;
        for lane in &lanes {
            let here = rows.iter().filter(|row| machine.read(0, &[&batch, row]) == point[segment] as f64);
            let sum: f64 = here.map(|row| machine.read(1, &[&batch, row, lane])).sum();
            let element = machine.at(slot(2), &point) + machine.at(slot(2), lane);
            machine.store(slot(2), element, sum, machine.adds);
        }
    }
}

fn sees(attention: &Attention, query: u64, key: u64) -> bool {
    (!attention.causal || key <= query) && attention.window.is_none_or(|window| (query as i64) - (key as i64) < window as i64)
}

/// Visible keys and their scores.
fn scores(machine: &Machine<'_>, attention: &Attention, row: &Vec<u64>) -> Vec<(Vec<u64>, f64)> {
    let features = machine.over(&[Role::Feature]);
    let query = machine.index(Role::Query, row);
    let keys = machine.over(&[Role::Key]).into_iter().filter(|key| sees(attention, query, machine.index(Role::Key, key)));
    keys.map(|key| {
        let dot: f64 = features.iter().map(|feature| machine.read(0, &[row, feature]) * machine.read(1, &[row, &key, feature])).sum();
        (key, dot * f64::from(attention.scale))
    })
    .collect()
}

/// Softmax attention.
pub fn attention(machine: &mut Machine<'_>, attention: &Attention) {
    machine.one_each(&[Role::Query, Role::Key, Role::Feature, Role::Value]);
    for row in machine.over(&[Role::Batch, Role::M, Role::Query]) {
        let scores = scores(machine, attention, &row);
        let total: f64 = scores.iter().map(|(_, score)| score.exp()).sum();
        for value in machine.over(&[Role::Value]) {
            let sum: f64 = scores.iter().map(|(key, score)| score.exp() / total * machine.read(2, &[&row, key, &value])).sum();
            let element = machine.at(slot(3), &row) + machine.at(slot(3), &value);
            machine.store(slot(3), element, sum, false);
        }
        let element = machine.at(slot(4), &row);
        machine.store(slot(4), element, total.ln(), false);
    }
}

/// Its gradient.
pub fn attention_grad(machine: &mut Machine<'_>, attention: &Attention) {
    machine.one_each(&[Role::Query, Role::Key, Role::Feature, Role::Value]);
    let written: [(u32, &[Role]); 3] = [
        (6, &[Role::Batch, Role::M, Role::Query, Role::Feature]),
        (7, &[Role::Batch, Role::Key, Role::Feature]),
        (8, &[Role::Batch, Role::Key, Role::Value]),
    ];
    for (index, roles) in written {
        for point in machine.over(roles) {
            let element = machine.at(slot(index), &point);
            machine.store(slot(index), element, 0.0, false);
        }
    }
    let (features, values) = (machine.over(&[Role::Feature]), machine.over(&[Role::Value]));
    for row in machine.over(&[Role::Batch, Role::M, Role::Query]) {
        let dot: f64 = values.iter().map(|value| machine.read(3, &[&row, value]) * machine.read(5, &[&row, value])).sum();
        for (key, score) in scores(machine, attention, &row) {
            let share = (score - machine.read(4, &[&row])).exp();
            let mut dshare = 0.0;
            for value in &values {
                let cotangent = machine.read(5, &[&row, value]);
                dshare += cotangent * machine.read(2, &[&row, &key, value]);
                let element = [&row, &key, value].iter().map(|point| machine.at(slot(8), point)).sum();
                machine.store(slot(8), element, share * cotangent, true);
            }
            let dscore = share * (dshare - dot) * f64::from(attention.scale);
            for feature in &features {
                let (q, k) = (machine.read(0, &[&row, feature]), machine.read(1, &[&row, &key, feature]));
                let to_q = machine.at(slot(6), &row) + machine.at(slot(6), feature);
                machine.store(slot(6), to_q, dscore * k, true);
                let to_k = [&row, &key, feature].iter().map(|point| machine.at(slot(7), point)).sum();
                machine.store(slot(7), to_k, dscore * q, true);
            }
        }
    }
}
