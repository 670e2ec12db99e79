# Bytecode: what Python runs, without a look at its sources

# As packages bring it, every import also reads the source, to see whether it has changed. In this root nothing does.
chroot "$root" sh -c 'python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/collector /usr/lib/python3*'
