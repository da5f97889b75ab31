//! Where each service listens if nobody says otherwise, and where the gateway then looks for it.

/// The public door.
pub const GATEWAY: &str = "127.0.0.1:8080";
/// The guard.
pub const GUARD: &str = "127.0.0.1:8081";
/// The cache.
pub const CACHE: &str = "127.0.0.1:8082";
/// The router.
pub const ROUTER: &str = "127.0.0.1:8083";
/// The executor.
pub const EXECUTOR: &str = "127.0.0.1:8084";
/// Metering.
pub const METERING: &str = "127.0.0.1:8085";

/// The address of a service by its name; the public door's for any other.
#[must_use]
pub fn of(service: &str) -> &'static str {
    match service {
        "guard" => GUARD,
        "cache" => CACHE,
        "router" => ROUTER,
        "executor" => EXECUTOR,
        "metering" => METERING,
        _ => GATEWAY,
    }
}
