# Papers: what is in it, and check sums

python3 "$image/sbom.py" "$root" "$name" "$SOURCE_DATE_EPOCH" > "$work/$name.spdx.json"
{
    printf 'version %s\ncommit %s\nepoch %s\nkernel %s\n' "$version" "$commit" "$SOURCE_DATE_EPOCH" "$kernel"
    printf 'root-sha256 %s\nroot-bytes %s\n' "$(sha256sum < "$work/root.squashfs" | cut -d ' ' -f 1)" "$size"
    chroot "$tools" dpkg-query --show --showformat 'tool ${Package} ${Version}\n'
    dpkg-query --admindir "$root/usr/lib/sysimage/dpkg" --show --showformat 'package ${Package} ${Version}\n'
    sed 's/^/not-as-locked /' "$work/not-as-locked"
} > "$work/$name.manifest"
mv "$work/root.squashfs" "$work/$name.squashfs"
files=("$name".{raw,qcow2,vhdx.zip,ova,iso,squashfs,raucb,spdx.json,manifest})
(cd "$work" && sha256sum "${files[@]}" > SHA256SUMS)
tool openssl cms -sign -binary -in /build/SHA256SUMS -signer /build/signing/cert.pem -inkey /build/signing/key.pem \
    -outform PEM -out /build/SHA256SUMS.sig
cp "$work/signing/keyring.pem" "$work/signing.pem"
(cd "$work" && mv "${files[@]}" SHA256SUMS.sig signing.pem SHA256SUMS "$out/")
