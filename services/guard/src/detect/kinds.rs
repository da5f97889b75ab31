//! What can be detected.

/// A detector: its id, its placeholder's word, what it finds.
#[derive(Debug)]
pub(crate) struct Detector {
    pub(crate) id: &'static str,
    pub(crate) word: &'static str,
    pub(crate) description: &'static str,
}

macro_rules! detectors {
    ($($name:ident $id:literal $word:literal $description:literal)*) => {
        /// A detector's place in [`DETECTORS`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind { $($name),* }

        const KINDS: &[Kind] = &[$(Kind::$name),*];

        /// All detectors. From the street address on they need words that come after: they are not used for answers that stream.
        pub(crate) const DETECTORS: [Detector; KINDS.len()] =
            [$(Detector { id: $id, word: $word, description: $description }),*];
    };
}

detectors! {
    PrivateKey "secret.private_key" "PRIVATE_KEY" "a private key block"
    AnthropicKey "secret.anthropic_key" "API_KEY" "an Anthropic key"
    OpenaiKey "secret.openai_key" "API_KEY" "an OpenAI key"
    AwsKey "secret.aws_key" "AWS_KEY" "an AWS access key id"
    GithubToken "secret.github_token" "GITHUB_TOKEN" "a GitHub token"
    GoogleKey "secret.google_key" "API_KEY" "a Google API key"
    SlackToken "secret.slack_token" "SLACK_TOKEN" "a Slack token or webhook"
    StripeKey "secret.stripe_key" "STRIPE_KEY" "a Stripe key"
    SignalboxKey "secret.signalbox_key" "API_KEY" "a key of this mesh"
    ProviderKey "secret.provider_key" "API_KEY" "a key in the form of one of a hundred other providers"
    Jwt "secret.jwt" "TOKEN" "a JSON web token"
    Connection "secret.connection_string" "CONNECTION" "an address with a password in it"
    Assigned "secret.assigned" "SECRET" "a value that its name calls a password, key or token"
    Email "pii.email" "EMAIL" "an e-mail address"
    Iban "pii.iban" "IBAN" "a bank account number, its check digits and length right"
    Card "pii.credit_card" "CREDIT_CARD" "a card number, its check digit and issuer right"
    Ssn "pii.us_ssn" "SSN" "a US social security number"
    NationalId "pii.national_id" "NATIONAL_ID" "an identity or tax number of one of 35 countries, its check digits right"
    Passport "pii.passport" "PASSPORT" "a passport number, named as one"
    DriverLicense "pii.driver_license" "DRIVER_LICENSE" "a driving licence's number, named as one"
    BirthDate "pii.birth_date" "BIRTH_DATE" "a date that is named as one of birth"
    Wallet "pii.crypto_wallet" "WALLET" "the address of a cryptocurrency wallet, its checksum right where it has one"
    Phone "pii.phone" "PHONE" "a phone number in international form, a national form, or named as one"
    Ip "pii.ip_address" "IP" "an IP address that is not of a local network"
    Mac "pii.mac_address" "MAC" "a hardware address"
    Address "pii.street_address" "ADDRESS" "a street address"
    Person "pii.person" "PERSON" "a person's name"
    Organization "pii.organization" "ORGANIZATION" "an organisation's name"
    Location "pii.location" "LOCATION" "a country, a town, a region"
}

impl Kind {
    /// Its place in [`DETECTORS`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Whether a detector reads names and the words around them: answers that stream do without.
pub(crate) const fn needs_words(index: usize) -> bool {
    index >= Kind::Address.index()
}
