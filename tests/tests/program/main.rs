//! The programs in the kernel, through `BPF_PROG_TEST_RUN`, against the core on the host; they need
//! root. No packet leaves: a test run only tells what a program would do.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test holds nothing but tests"
)]

mod budget;
mod corners;
mod differential;
mod patch;
mod race;
mod reads;
mod reasons;
mod signals;
mod swap;
