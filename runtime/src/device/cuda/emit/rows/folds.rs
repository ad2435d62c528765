//! Folds over rows: each team folds its own rows, a block its teams, and a second function the blocks.
//!
//! Requires: folds over the last row dims. Ensures: one order of terms. Results of long rows are kept where they are written, by the threads that
//! own their lanes.

use super::super::Function;
use super::super::text::{Text, name, times};
use super::form::{Form, Work};
use super::{Emitter, adds, lane_stride, operation, phases, store};
use cranelift_entity::EntityRef;
use meshwright_plan::kernel::{Access, Effect, KernelData, Reduce, Rows, Slot};

/// Threads of a block that puts partial results together.
const THREADS: u64 = 256;

impl Emitter<'_> {
    fn folds(&self) -> Vec<(usize, Effect)> {
        self.effects(|effect| matches!(effect, Effect::Fold { .. }))
    }

    /// Registers for the folds of a team.
    pub(super) fn start_folds(&mut self) {
        for (number, effect) in self.folds() {
            let Effect::Fold { op, .. } = effect else { continue };
            let op = operation(op);
            match (self.is_wide(&effect), self.form.keeps()) {
                (false, _) => self.text.line(&format!("float f{number} = {op}::start();")),
                (true, true) => {
                    let size = self.form.turns * self.form.vector;
                    self.text.line(&format!("float f{number}[{size}];"));
                    self.text.line("#pragma unroll");
                    self.text.line(&format!("for (int i = 0; i < {size}; i++) f{number}[i] = {op}::start();"));
                }
                (true, false) => {}
            }
        }
        if self.form.teams > 1 {
            self.text.line(&format!("__shared__ float area[{}];", self.form.teams * self.form.team * self.form.vector));
        }
    }

    /// What one lane of one row adds.
    pub(super) fn fold_lane(&mut self, number: usize, effect: &Effect) -> Result<(), String> {
        let Effect::Fold { slot, op, value, .. } = effect else { return Ok(()) };
        let (join, value) = (operation(*op), self.value(*value));
        if self.form.keeps() {
            self.text.line(&format!("f{number}[{0}] = {join}::join(f{number}[{0}], {value});", self.kept()));
            return Ok(());
        }
        let accumulates = self.kernel.operands[*slot].access == Access::Accumulate;
        if *op != Reduce::Sum && accumulates {
            return Err("it folds maxima of too many lanes".to_string());
        }
        let guard = if self.form.overhangs() { "if (in) " } else { "" };
        let (place, fresh) = match self.destination(effect, &self.lane()) {
            (place, true) => (place, "row == from".to_string()),
            (place, false) => (place, format!("row == from && !({})", adds(self.kernel, *slot))),
        };
        self.text.line(&format!("{guard}{place} = {fresh} ? {value} : {join}::join({place}, {value});"));
        Ok(())
    }

    /// Where the result of a lane goes, and whether that is a partial result.
    fn destination(&self, effect: &Effect, lane: &str) -> (String, bool) {
        let Effect::Fold { slot, partials, .. } = effect else { return (String::new(), false) };
        let wide = self.is_wide(effect);
        match partials {
            Some(partials) if wide => (format!("o{}[blockIdx.x * {}ll + {lane}]", partials.index(), self.form.lanes), true),
            Some(partials) => (format!("o{}[blockIdx.x]", partials.index()), true),
            None => {
                let lane = if wide { format!(" + {}", times(lane, lane_stride(self.kernel, *slot))) } else { String::new() };
                (format!("*({}{lane})", self.row_of(*slot)), false)
            }
        }
    }

    /// The block's results, once all of its rows are done.
    pub(super) fn finish_folds(&mut self) {
        let folds = self.folds();
        let whole = |effect: &Effect| matches!(effect, Effect::Fold { partials: None, .. });
        let slots: Vec<Slot> = folds.iter().filter(|(_, effect)| whole(effect)).map(|(_, effect)| effect.slot()).collect();
        if !slots.is_empty() {
            self.text.line("mw_i64 row = from;");
            self.places(slots.into_iter());
        }
        if self.form.teams > 1 {
            self.text.line(&format!("int team = threadIdx.x / {};", self.form.team));
        }
        for (number, effect) in folds {
            match (self.is_wide(&effect), self.form.keeps()) {
                (false, _) => self.finish_narrow(number, &effect),
                (true, true) => self.finish_wide(number, &effect),
                (true, false) => {}
            }
        }
    }

    fn finish_narrow(&mut self, number: usize, effect: &Effect) {
        let Effect::Fold { op, .. } = effect else { return };
        if self.form.teams > 1 {
            self.text.line("__syncthreads();");
            self.text.line(&format!("if (thread == 0) area[team] = f{number};"));
            self.text.line("__syncthreads();");
            let join = operation(*op);
            self.text.line(&format!("f{number} = area[0];"));
            self.text.line(&format!("for (int i = 1; i < {}; i++) f{number} = {join}::join(f{number}, area[i]);", self.form.teams));
        }
        let write = self.write(effect, &format!("f{number}"));
        self.text.line(&format!("if (threadIdx.x == 0) {write}"));
    }

    fn finish_wide(&mut self, number: usize, effect: &Effect) {
        let Effect::Fold { op, .. } = effect else { return };
        let (team, teams, vector, lanes) = (self.form.team, self.form.teams, self.form.vector, self.form.lanes);
        let write = self.write(effect, "total");
        self.text.line("#pragma unroll");
        self.text.open(&format!("for (int j = 0; j < {}; j++)", self.form.turns));
        if teams > 1 {
            let own = format!("area[(team * {team} + thread) * {vector} + e] = f{number}[j * {vector} + e]");
            self.text.line("__syncthreads();");
            self.text.line(&format!("for (int e = 0; e < {vector}; e++) {own};"));
            self.text.line("__syncthreads();");
        }
        self.text.open(&format!("for (int e = 0; e < {vector}; e++)"));
        self.text.line(&format!("int lane = (j * {team} + thread) * {vector} + e;"));
        self.text.line(&format!("if ({}lane >= {lanes}) continue;", if teams > 1 { "team != 0 || " } else { "" }));
        self.text.line(&format!("float total = f{number}[j * {vector} + e];"));
        if teams > 1 {
            let other = format!("area[(i * {team} + thread) * {vector} + e]");
            self.text.line(&format!("for (int i = 1; i < {teams}; i++) total = {}::join(total, {other});", operation(*op)));
        }
        self.text.line(&write);
        self.text.close();
        self.text.close();
    }

    /// Writes or adds a result.
    fn write(&self, effect: &Effect, value: &str) -> String {
        match self.destination(effect, "lane") {
            (place, true) => format!("{place} = {value};"),
            (place, false) => store(self.kernel, effect.slot(), &place, value),
        }
    }
}

/// The function that puts the blocks' results together, if there are any.
pub(super) fn combine(number: u32, kernel: &KernelData, rows: &Rows, form: &Form) -> Option<Function> {
    let Work::Groups(groups) = form.work else { return None };
    let levels = rows.levels(kernel);
    let name = format!("{}_combine", name(number, kernel));
    let mut text = Text::named(&name, kernel);
    text.line(&format!("int lane = blockIdx.x * {THREADS} + threadIdx.x;"));
    let mut most = 0;
    for effect in &rows.effects {
        let Effect::Fold { partials: Some(partials), op, slot, .. } = effect else { continue };
        let width = if phases::is_wide(kernel, &levels, effect) { form.lanes } else { 1 };
        most = most.max(width);
        let (join, from) = (operation(*op), format!("o{}", partials.index()));
        text.open(&format!("if (lane < {width})"));
        text.line(&format!("float total = {from}[lane];"));
        text.line(&format!("for (int i = 1; i < {groups}; i++) total = {join}::join(total, {from}[{} + lane]);", times("i", width as i64)));
        let place = format!("*(o{} + {})", slot.index(), times("lane", lane_stride(kernel, *slot)));
        text.line(&store(kernel, *slot, &place, "total"));
        text.close();
    }
    let grid = u32::try_from(most.div_ceil(THREADS)).ok().filter(|_| most > 0)?;
    Some(Function { name, text: text.finish(), grid, threads: THREADS as u32, shared: 0 })
}
