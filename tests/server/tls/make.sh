#!/usr/bin/env bash
# Makes the certificates in this directory. They protect nothing; they last 100 years,
# so that the tests need no openssl.
set -euo pipefail
cd "$(dirname "$0")"
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 \
        -keyout "$1.key" -out "$1.pem" -subj "/CN=Holdfast test $1"
}
signed() { # name, authority, extension
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 36500 \
        -out "$1.pem" -extfile <(echo "$3")
    rm "$1.csr"
}
authority ca
authority stranger-ca
signed server ca "subjectAltName=DNS:localhost,IP:127.0.0.1"
signed renewed ca "subjectAltName=DNS:renewed"
signed ada ca "extendedKeyUsage=clientAuth"
signed bob ca "extendedKeyUsage=clientAuth"
signed mallory stranger-ca "extendedKeyUsage=clientAuth"
openssl ec -in server.key -aes128 -passout pass:secret -out encrypted.key
# Nobody can sign with these authorities again.
rm ./*.srl ca.key stranger-ca.key stranger-ca.pem
