-- The definitions of a tenant, as they are at one moment.
return {redis.call('GET', P .. 'v') or '0', redis.call('HGETALL', P .. 'defs')}
