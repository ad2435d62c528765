//! Memory for machine code: functions are defined one by one, then made executable together.
//!
//! Requires: functions that take one pointer. Ensures: addresses stay valid as long as the [`Code`] lives.

use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, FuncRef, Function, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Module, default_libcall_names};

/// A kernel's function: it takes the words that `emit` lays out.
pub(super) type Entry = unsafe extern "C" fn(*const u64);

/// Machine code of all kernels of a plan.
pub struct Code {
    /// None only while being dropped.
    module: Option<JITModule>,
    builder: FunctionBuilderContext,
    context: Context,
}

/// Adds ready machine code for the function under construction to call.
pub(super) struct Linker<'a> {
    module: &'a mut JITModule,
}

impl Linker<'_> {
    /// Lets `function` call machine code that takes one pointer; none if there is no memory for it.
    pub(super) fn add(&mut self, function: &mut Function, bytes: &[u8]) -> Option<FuncRef> {
        let mut signature = self.module.make_signature();
        signature.params.push(AbiParam::new(types::I64));
        let id = self.module.declare_anonymous_function(&signature).ok()?;
        self.module.define_function_bytes(id, 64, bytes, &[]).ok()?;
        let callee = self.module.declare_func_in_func(id, function);
        // The two may lie too far apart for a relative call.
        function.dfg.ext_funcs[callee].colocated = false;
        Some(callee)
    }
}

// SAFETY: the module is changed only through `&mut self`; other threads only run the finished code.
unsafe impl Sync for Code {}
// SAFETY: it holds no thread's own data.
unsafe impl Send for Code {}

impl Code {
    /// Empty memory for code of this machine, or why there is none.
    ///
    /// # Errors
    /// The system refuses executable memory, or the machine is not supported.
    pub fn new() -> Result<Code, String> {
        let verify = if cfg!(debug_assertions) { "true" } else { "false" };
        // Optimising sinks row-level roots and quotients into the loops over lanes (seen in 0.135); the emitter places everything itself.
        let flags = [("opt_level", "none"), ("enable_verifier", verify)];
        let builder = JITBuilder::with_flags(&flags, default_libcall_names()).map_err(|error| error.to_string())?;
        let module = JITModule::new(builder);
        let context = module.make_context();
        Ok(Code { module: Some(module), builder: FunctionBuilderContext::new(), context })
    }

    fn module(&mut self) -> &mut JITModule {
        self.module.as_mut().expect("the module lives as long as the code")
    }

    /// The convention of `extern "C"` functions.
    pub(super) fn convention(&mut self) -> CallConv {
        self.module().isa().default_call_conv()
    }

    /// Defines a function that `emit` builds.
    pub(super) fn define(&mut self, emit: impl FnOnce(FunctionBuilder<'_>, Linker<'_>)) -> Result<FuncId, String> {
        let module = self.module.as_mut().expect("the module lives as long as the code");
        emit(FunctionBuilder::new(&mut self.context.func, &mut self.builder), Linker { module });
        let id = module.declare_anonymous_function(&self.context.func.signature).map_err(|error| error.to_string())?;
        let defined = module.define_function(id, &mut self.context).map_err(|error| format!("{error:?}"));
        module.clear_context(&mut self.context);
        defined.map(|()| id)
    }

    /// The settings that finish a function.
    pub(super) fn frontend(&self) -> cranelift_codegen::isa::TargetFrontendConfig {
        self.module.as_ref().expect("the module lives as long as the code").target_config()
    }

    /// Makes what has been defined executable.
    ///
    /// # Errors
    /// The system refuses.
    pub fn finish(&mut self) -> Result<(), String> {
        self.module().finalize_definitions().map_err(|error| error.to_string())
    }

    /// The address of a finished function.
    pub(super) fn entry(&self, id: FuncId) -> Entry {
        let address = self.module.as_ref().expect("the module lives as long as the code").get_finalized_function(id);
        // SAFETY: the function was built with this signature and convention.
        unsafe { std::mem::transmute::<*const u8, Entry>(address) }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: kernels borrow nothing of the code, but the device drops them together with it and runs none afterwards.
            unsafe { module.free_memory() };
        }
    }
}
