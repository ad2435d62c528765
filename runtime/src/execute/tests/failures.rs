//! What goes wrong is seen: ranks that wait in vain, ranks that decide differently.
