//! Tests in network namespaces of their own; they need root.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test holds nothing but tests"
)]

mod netlink;
