//! Negotiate (RFC 4559): a Kerberos ticket for `HTTP/proxy`, wrapped for GSS-API and SPNEGO.
//!
//! One message is sent. What the proxy answers with its 200 (its own proof) is not looked at: the
//! tunnel's TLS proves the far end, and a proxy in between could harm no more than the network can.
//! Must never know where the ticket comes from.

use super::kerberos::der;

/// `1.3.6.1.5.5.2` (RFC 4178), in DER without its head.
const SPNEGO: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x02];
/// `1.2.840.113554.1.2.2` (RFC 4121).
const KRB5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02];
/// An AP-REQ follows (RFC 4121 section 4.1).
const AP_REQ: [u8; 2] = [0x01, 0x00];

/// A `NegTokenInit` (RFC 4178 section 4.2.1) that offers Kerberos alone and brings its first token,
/// which carries this AP-REQ.
pub(super) fn token(ap_req: &[u8]) -> Vec<u8> {
    let kerberos = der::tlv(0x60, &[&der::oid(KRB5)[..], &AP_REQ, ap_req].concat());
    let init = der::seq(&[
        der::context(0, &der::seq(&[der::oid(KRB5)])),
        der::context(2, &der::octets(&kerberos)),
    ]);
    der::tlv(0x60, &[der::oid(SPNEGO), der::context(0, &init)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrapping_is_that_of_the_rfcs() {
        let wanted = [
            &[0x60, 0x2e, 0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02][..],
            &[0xa0, 0x24, 0x30, 0x22, 0xa0, 0x0d, 0x30, 0x0b, 0x06, 0x09],
            KRB5,
            &[0xa2, 0x11, 0x04, 0x0f, 0x60, 0x0d, 0x06, 0x09],
            KRB5,
            &[0x01, 0x00],
        ]
        .concat();
        assert_eq!(token(b""), wanted);
    }
}
