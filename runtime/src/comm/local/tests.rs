//! Claims about meetings: nobody goes on too early, different collectives do not mix, and the missing are named.

use super::{Local, Places, Stand};
use crate::device::Device;
use crate::pool::bell::Bell;
use meshwright_plan::{Kernel, Plan};
use std::time::Duration;

fn plan() -> Plan {
    let text = "plan \"two\"\nformat 1\nmesh data 3\nmicrobatches 1\narena 64\nregion x carries at 0 bytes 64\n\
                kernel k0 sum all_reduce sum along data [R 3]\n  read from: f32[R]\n  write to: f32[R]\n\
                kernel k1 turn permute 1 along data [R 3]\n  read from: f32[R]\n  write to: f32[R]\n\
                entry step\n  control\n";
    meshwright_plan::parse::parse(text).expect("a plan")
}

fn places(values: &mut [f32; 6], adds: bool) -> Places {
    let start = values.as_mut_ptr();
    Places { input: start.cast(), output: start.wrapping_add(3).cast(), adds }
}

#[test]
fn a_member_leaves_when_all_have_done_their_share() {
    let (local, bell) = (Local::load(&plan()).expect("collectives"), Bell::new(1, Duration::ZERO));
    let device = Device::cpu(&plan()).expect("a device");
    let kernel = Kernel::from_u32(0);
    for round in 0..3 {
        let mut values = [[1.0f32; 6], [2.0; 6], [4.0; 6]];
        let arrive = |rank: usize, values: &mut [[f32; 6]; 3]| local.arrive((kernel, 0), rank, places(&mut values[rank], false), &bell);
        // SAFETY: the operands live as long as the meetings.
        let go_on = |rank, meeting: &mut _| unsafe { local.go_on(&device, rank, meeting, &bell) };
        let mut first = arrive(0, &mut values);
        assert_eq!(go_on(0, &mut first), Stand::Waits);
        assert_eq!(local.missing(0, &first), [1, 2]);
        let mut third = arrive(2, &mut values);
        assert_eq!((go_on(2, &mut third), local.missing(0, &first)), (Stand::Waits, vec![1]));
        assert_eq!(bell.rings(), 2 * round);
        let mut second = arrive(1, &mut values);
        assert_eq!(bell.rings(), 2 * round + 1);
        assert_eq!(go_on(1, &mut second), Stand::Waits);
        assert_eq!(go_on(0, &mut first), Stand::Waits);
        assert_eq!(local.missing(0, &first), [2]);
        assert_eq!(go_on(2, &mut third), Stand::Done);
        assert_eq!(bell.rings(), 2 * round + 2);
        assert_eq!((go_on(0, &mut first), go_on(1, &mut second)), (Stand::Done, Stand::Done));
        assert!(values.iter().all(|values| values[3..] == [7.0; 3]));
    }
}

#[test]
fn different_collectives_do_not_mix() {
    for (kernel, adds) in [(1, false), (0, true)] {
        let (mut local, bell) = (Local::load(&plan()).expect("collectives"), Bell::new(1, Duration::ZERO));
        let device = Device::cpu(&plan()).expect("a device");
        let mut values = [[1.0f32; 6]; 3];
        let mut meetings = Vec::new();
        for (rank, values) in values.iter_mut().enumerate() {
            let (kernel, adds) = if rank == 1 { (kernel, adds) } else { (0, false) };
            meetings.push(local.arrive((Kernel::from_u32(kernel), 0), rank, places(values, adds), &bell));
        }
        for (rank, meeting) in meetings.iter_mut().enumerate() {
            // SAFETY: the operands live as long as the meetings.
            assert_eq!(unsafe { local.go_on(&device, rank, meeting, &bell) }, Stand::Torn);
        }
        local.reset();
        assert_eq!(values, [[1.0; 6]; 3]);
    }
}
