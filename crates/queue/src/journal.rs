//! The journal: dead letters, the orders that wait behind them, and everything that was done about them.
//!
//! It is an append-only stream. What is open is a fold over its entries ([`fold::Fold`]); nobody deletes, everybody
//! appends. A key with an open letter is *blocked*: later orders of the customer are held in the journal until an operator
//! releases or discards what is in front of them.

pub mod carrying;
pub mod entry;
pub mod fold;
pub mod tail;
