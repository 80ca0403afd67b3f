//! Binds a worker to its core.

/// Pins the calling thread to core `core`. `false` if the system refuses (no such core, or a cpuset without it):
/// the thread then runs wherever it may.
pub fn pin(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

/// The cores this process may run on, in order; empty if the system does not say.
pub fn cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_is_there_can_be_had_and_one_that_is_not_is_refused() {
        let first = cores()[0];
        std::thread::spawn(move || assert!(pin(first))).join().unwrap();
        std::thread::spawn(|| assert!(!pin(1000))).join().unwrap();
    }
}
