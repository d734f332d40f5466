//! Interactive sign-ins under way: device codes that wait for a user, and codes of the authorize
//! page that wait to be redeemed. Times are Unix seconds of the simulated Microsoft's clock.

/// Beyond this many the oldest are forgotten.
const KEPT: usize = 1000;

/// What has begun and may not have ended.
#[derive(Default)]
pub(in crate::sandbox) struct SignIns {
    devices: Vec<Device>,
    codes: Vec<Code>,
}

/// A device code (RFC 8628).
#[derive(Clone)]
pub(in crate::sandbox) struct Device {
    /// What the client polls with.
    pub(in crate::sandbox) secret: String,
    /// What the user types.
    pub(in crate::sandbox) user_code: String,
    /// The app that asked.
    pub(in crate::sandbox) client_id: String,
    /// The scope that was asked for.
    pub(in crate::sandbox) scope: String,
    /// When it ends.
    pub(in crate::sandbox) exp: u64,
    /// How far it has got.
    pub(in crate::sandbox) state: DeviceState,
}

/// How far a device code has got.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::sandbox) enum DeviceState {
    /// Nobody has typed the user code yet.
    Pending,
    /// This user signed in.
    Approved(String),
    /// The user said no.
    Declined,
    /// Its tokens were handed out.
    Redeemed,
}

/// An authorization code (RFC 6749 section 4.1.2) and what it is bound to.
#[derive(Clone)]
pub(in crate::sandbox) struct Code {
    /// The code itself.
    pub(in crate::sandbox) value: String,
    /// The app that asked.
    pub(in crate::sandbox) client_id: String,
    /// Where it was sent.
    pub(in crate::sandbox) redirect_uri: String,
    /// The scope that was asked for.
    pub(in crate::sandbox) scope: String,
    /// The S256 challenge (RFC 7636).
    pub(in crate::sandbox) challenge: String,
    /// Comes back in the id token.
    pub(in crate::sandbox) nonce: Option<String>,
    /// Who signed in.
    pub(in crate::sandbox) upn: String,
    /// When it ends.
    pub(in crate::sandbox) exp: u64,
    /// Whether it was redeemed.
    pub(in crate::sandbox) used: bool,
}

impl SignIns {
    pub(in crate::sandbox) fn add_device(&mut self, device: Device) {
        push(&mut self.devices, device);
    }

    pub(in crate::sandbox) fn add_code(&mut self, code: Code) {
        push(&mut self.codes, code);
    }

    pub(in crate::sandbox) fn device(&mut self, device_code: &str) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.secret == device_code)
    }

    /// By what the user types, without regard to case and blanks.
    pub(in crate::sandbox) fn device_of_user(&mut self, user_code: &str) -> Option<&mut Device> {
        let typed = user_code.trim();
        self.devices.iter_mut().find(|device| device.user_code.eq_ignore_ascii_case(typed))
    }

    pub(in crate::sandbox) fn code(&mut self, code: &str) -> Option<&mut Code> {
        self.codes.iter_mut().find(|known| known.value == code)
    }

    /// The user codes that nobody has typed yet, oldest first.
    pub(super) fn pending(&self) -> Vec<String> {
        let pending = self.devices.iter().filter(|device| device.state == DeviceState::Pending);
        pending.map(|device| device.user_code.clone()).collect()
    }
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= KEPT {
        list.drain(..KEPT / 10);
    }
    list.push(item);
}
