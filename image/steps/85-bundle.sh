# Bundle: the root image, signed, as an update

mkdir "$work/bundle"
ln "$work/root.squashfs" "$work/bundle/root.img"
sed -e "s/@VERSION@/$version/" -e "s/@COMMIT@/$commit/" "$image/channels/manifest.raucm" > "$work/bundle/manifest.raucm"
tool rauc bundle --cert=/build/signing/cert.pem --key=/build/signing/key.pem --keyring=/build/signing/keyring.pem \
    --mksquashfs-args="-comp gzip -noD -noF" /build/bundle "/build/$name.raucb"
