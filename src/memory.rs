//! Whether all ranks of a plan fit into this machine's memory at once: they are one process.

use crate::outcome::Failure;
use meshwright_plan::Plan;
use meshwright_plan::print::human;

/// Refuses a plan whose arenas need more than what is free, before any of it is mapped.
pub fn fits(plan: &Plan) -> Result<(), Failure> {
    match free() {
        Some(free) if plan.mesh.ranks() > 1 => enough(plan, free),
        // What one rank asks for, the system itself refuses when it is too much.
        Some(_) | None => Ok(()),
    }
}

fn enough(plan: &Plan, free: u64) -> Result<(), Failure> {
    let (ranks, each) = (plan.mesh.ranks(), plan.arena.bytes);
    let all = each.saturating_mul(ranks);
    if all <= free {
        return Ok(());
    }
    let message = format!("{ranks} ranks of {} need {} of memory, and {} are free", human(each), human(all), human(free));
    let help = "'meshwright plan SPEC --show summary' needs no memory, and 'meshwright verify SPEC' tries the mesh with a smaller model";
    Err(Failure::Data("run::memory".to_string(), message, Some(help.to_string())))
}

/// Bytes that the system can give without swapping; none where it does not say.
fn free() -> Option<u64> {
    said("MemAvailable")
}

/// What the system says of its memory, in bytes: `MemTotal`, `MemAvailable`; none where it does not say.
pub fn said(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = value.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshwright_plan::mesh::{Axis, Mesh};

    #[test]
    fn all_ranks_count() {
        let mut plan = Plan { mesh: Mesh { axes: vec![Axis { name: "data".into(), size: 4 }] }, ..Plan::default() };
        plan.arena.bytes = 1 << 20;
        assert!(enough(&plan, 4 << 20).is_ok());
        let Err(Failure::Data(code, message, Some(_))) = enough(&plan, 3 << 20) else { panic!("it does not fit") };
        assert_eq!((code.as_str(), message.as_str()), ("run::memory", "4 ranks of 1.0 MiB need 4.0 MiB of memory, and 3.0 MiB are free"));
    }
}
