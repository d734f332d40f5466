//! What the managed identity endpoints of Azure machines and services say: the instance metadata
//! service's errors are documented, the others observed.

use super::super::row::{Part::Words, Row, documented, observed};

pub(in super::super) const ROWS: &[Row] = &[
    documented(
        &[Words("identity not found")],
        "managed identity: Identity not found",
        "This machine has no managed identity, or not the one that client_id names.",
        "Switch the machine's managed identity on, or assign the one whose client_id is set; leave \
         client_id out for the machine's own.",
    ),
    observed(
        &[Words("unable to load requested managed identity")],
        "managed identity: Unable to load requested managed identity",
        "This service has no managed identity, or not the one that client_id names.",
        "Switch the service's managed identity on, or assign the one whose client_id is set; leave \
         client_id out for the service's own.",
    ),
    observed(
        &[Words("no managed identity was found")],
        "managed identity: No Managed Identity was found",
        "This service has no managed identity, or not the one that client_id names.",
        "Switch the service's managed identity on, or assign the one whose client_id is set; leave \
         client_id out for the service's own.",
    ),
    documented(
        &[Words("required metadata header not specified")],
        "managed identity: bad_request_102",
        "The header Metadata did not arrive.",
        "Something between mailwicket and 169.254.169.254 changes requests: let it be reached \
         directly.",
    ),
    documented(
        &[Words("unknown_source")],
        "managed identity: unknown_source",
        "The metadata service does not know the machine that asks.",
        "Ask from the Azure machine itself and not through a proxy or from a network of containers.",
    ),
];
