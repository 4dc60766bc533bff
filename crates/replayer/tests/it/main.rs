//! The views, with a fixed clock, and the program itself against a real RabbitMQ.

mod acts;
mod command_line;
mod fleet;
mod forecasts;
mod letters;
mod stories;
mod views;
