//! Minimum cut of a flow network (Edmonds and Karp 1972), the cut nearest the sink where there are several.
//!
//! Requires that no path of only [`UNBOUNDED`] edges joins source and sink. Ensures a cut of least capacity; the same network gives the same cut.

use std::collections::VecDeque;

/// The capacity of an edge that is never cut.
pub const UNBOUNDED: u64 = 1 << 60;

/// A directed network with capacities. Nodes are numbers below the size.
#[derive(Clone, Debug)]
pub struct Network {
    /// Per node, indices into `edges`.
    leaving: Vec<Vec<usize>>,
    /// Edge `i ^ 1` is the reverse of edge `i`: target and what still fits.
    edges: Vec<(usize, u64)>,
}

impl Network {
    /// A network of `nodes` nodes without edges.
    pub fn new(nodes: usize) -> Self {
        Network { leaving: vec![Vec::new(); nodes], edges: Vec::new() }
    }

    /// Adds an edge.
    pub fn edge(&mut self, from: usize, to: usize, capacity: u64) {
        self.leaving[from].push(self.edges.len());
        self.edges.push((to, capacity));
        self.leaving[to].push(self.edges.len());
        self.edges.push((from, 0));
    }

    /// For each node whether it is on the sink's side of the cut nearest the sink.
    pub fn sink_side(mut self, source: usize, sink: usize) -> Vec<bool> {
        while let Some(path) = self.path(source, sink) {
            let flow = path.iter().map(|edge| self.edges[*edge].1).min().unwrap_or(0);
            assert!(flow < UNBOUNDED, "internal error: a path of the network has no edge that may be cut");
            for edge in path {
                self.edges[edge].1 -= flow;
                self.edges[edge ^ 1].1 += flow;
            }
        }
        self.reaching(sink)
    }

    /// A shortest path with room on every edge.
    fn path(&self, source: usize, sink: usize) -> Option<Vec<usize>> {
        let mut arrived: Vec<Option<usize>> = vec![None; self.leaving.len()];
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            for edge in self.leaving[node].iter().copied() {
                let (to, room) = self.edges[edge];
                if room == 0 || to == source || arrived[to].is_some() {
                    continue;
                }
                arrived[to] = Some(edge);
                if to == sink {
                    return Some(self.walk_back(&arrived, source, sink));
                }
                queue.push_back(to);
            }
        }
        None
    }

    fn walk_back(&self, arrived: &[Option<usize>], source: usize, sink: usize) -> Vec<usize> {
        let (mut path, mut node) = (Vec::new(), sink);
        while node != source {
            let edge = arrived[node].expect("every node of the path was arrived at");
            path.push(edge);
            node = self.edges[edge ^ 1].0;
        }
        path
    }

    /// Nodes from which the sink can still be reached.
    fn reaching(&self, sink: usize) -> Vec<bool> {
        let mut reaches = vec![false; self.leaving.len()];
        reaches[sink] = true;
        let mut queue = VecDeque::from([sink]);
        while let Some(node) = queue.pop_front() {
            for edge in &self.leaving[node] {
                let (from, room) = (self.edges[*edge].0, self.edges[edge ^ 1].1);
                if room > 0 && !reaches[from] {
                    reaches[from] = true;
                    queue.push_back(from);
                }
            }
        }
        reaches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_the_cheapest_edges_and_of_equal_ones_the_last() {
        // 0 → 1 → 2 → 3 with capacities 5, 3, 3: the last edge is cut.
        let mut chain = Network::new(4);
        chain.edge(0, 1, 5);
        chain.edge(1, 2, 3);
        chain.edge(2, 3, 3);
        assert_eq!(chain.sink_side(0, 3), [false, false, false, true]);
    }

    #[test]
    fn shares_a_node_between_two_users() {
        // 1 feeds 2 and 3; cutting before the fork costs 4, after it 3 + 3.
        let mut fork = Network::new(5);
        fork.edge(0, 1, 4);
        fork.edge(1, 2, 3);
        fork.edge(1, 3, 3);
        fork.edge(2, 4, UNBOUNDED);
        fork.edge(3, 4, UNBOUNDED);
        assert_eq!(fork.sink_side(0, 4), [false, true, true, true, true]);
    }

    #[test]
    fn sends_flow_back_where_that_helps() {
        let mut network = Network::new(6);
        for (from, to) in [(0, 1), (0, 2), (1, 3), (2, 3), (1, 4), (3, 5), (4, 5)] {
            network.edge(from, to, 1);
        }
        let side = network.sink_side(0, 5);
        assert!(!side[0] && side[5]);
        assert_eq!([(0, 1), (0, 2), (1, 3), (2, 3), (1, 4), (3, 5), (4, 5)].iter().filter(|(a, b)| !side[*a] && side[*b]).count(), 2);
    }
}
