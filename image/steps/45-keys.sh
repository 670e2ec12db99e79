# Keys: whose updates this image takes

# Kept in the cache, so that later builds can update earlier ones.
make_development_key() {
    tool openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -batch \
        -subj "/CN=Collector DEVELOPMENT, not for production" -not_before 20200101000000Z -not_after 20991231000000Z \
        -keyout /build/development.key -out /build/development.pem
    mv "$work/development.key" "$work/development.pem" "$cache/"
}
public_key() {
    tool openssl "$@" -out - | sha256sum
}

if [ -z "${SIGNING_KEY-}${SIGNING_CERT-}" ]; then
    [ -e "$cache/development.pem" ] || make_development_key
    SIGNING_KEY=$cache/development.key SIGNING_CERT=$cache/development.pem SIGNING_KEYRING=
fi
for file in "${SIGNING_KEY:-SIGNING_KEY}" "${SIGNING_CERT:-SIGNING_CERT}" "${SIGNING_KEYRING:-$SIGNING_CERT}"; do
    [ -r "$file" ] || fail "There is no $file. Give SIGNING_KEY and SIGNING_CERT (PEM), or neither."
done
mkdir -m 700 "$work/signing"
cp "$SIGNING_KEY" "$work/signing/key.pem"
cp "$SIGNING_CERT" "$work/signing/cert.pem"
cp "${SIGNING_KEYRING:-$SIGNING_CERT}" "$work/signing/keyring.pem"
[ "$(public_key pkey -in /build/signing/key.pem -pubout)" = "$(public_key x509 -in /build/signing/cert.pem -pubkey -noout)" ] ||
    fail "$SIGNING_CERT is not the certificate of $SIGNING_KEY."

install -m 644 "$work/signing/keyring.pem" "$root/usr/lib/rauc/keyring.pem"
if tool openssl x509 -in /build/signing/cert.pem -noout -subject | grep -q DEVELOPMENT; then
    touch "$root/usr/lib/rauc/development"
fi
find "$root/usr/lib/rauc" -exec touch --date "@$SOURCE_DATE_EPOCH" {} +
