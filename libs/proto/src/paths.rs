//! Where the methods stand that each request needs, for calls that choose their way themselves.

macro_rules! paths {
    ($($name:ident = $path:literal;)+) => {
        $(
            #[doc = concat!("`", $path, "`.")]
            pub const $name: &str = $path;
        )+
        /// All of them.
        pub const ALL: &[&str] = &[$($path),+];
    };
}

paths! {
    INSPECT = "/signalbox.guard.v1.GuardService/Inspect";
    SCREEN = "/signalbox.guard.v1.GuardService/Screen";
    LOOKUP = "/signalbox.cache.v1.CacheService/Lookup";
    FILL = "/signalbox.cache.v1.CacheService/Fill";
    PLAN = "/signalbox.router.v1.RouterService/Plan";
    REPORT = "/signalbox.router.v1.RouterService/Report";
    EXECUTE = "/signalbox.executor.v1.ExecutorService/Execute";
    ADMIT = "/signalbox.metering.v1.MeteringService/Admit";
    EXTEND = "/signalbox.metering.v1.MeteringService/Extend";
    SETTLE = "/signalbox.metering.v1.MeteringService/Settle";
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn each_is_in_the_contracts() {
        let set = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap();
        let methods = set.file.iter().flat_map(|file| {
            file.service.iter().flat_map(move |service| {
                let name = move |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
                service.method.iter().map(move |method| name(method.name()))
            })
        });
        let methods: Vec<String> = methods.collect();
        for path in ALL {
            assert!(methods.iter().any(|method| method == path), "{path}");
        }
    }
}
