//! Tests in network namespaces of their own; they need root.

mod netlink;
