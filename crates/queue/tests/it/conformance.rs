//! One suite, two backends.

mod deliveries;
mod journal;
mod order;
mod publishing;
mod schedule;
mod visiting;

/// Makes a test of each scenario for each backend. A scenario is an async function of a [`crate::stage::Stage`]; it may name a
/// change of the topology.
macro_rules! on_both_backends {
    ($($scenario:ident $(with $change:expr)?),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario(crate::stage::Stage::memory($crate::conformance::change!($($change)?))).await;
            })+
        }
        mod rabbitmq {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario(crate::stage::Stage::rabbitmq($crate::conformance::change!($($change)?)).await).await;
            })+
        }
    };
}

macro_rules! change {
    () => {
        |_| {}
    };
    ($change:expr) => {
        $change
    };
}

pub(crate) use {change, on_both_backends};
