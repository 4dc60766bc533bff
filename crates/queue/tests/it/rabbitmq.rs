//! What only a real broker does.

mod faults;
mod topology;
mod wire;
