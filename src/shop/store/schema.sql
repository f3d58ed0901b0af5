-- The order cache, version 1. `schema.rs` says how one version becomes the next.
-- Times are Unix milliseconds. Money is in minor units. Nothing here is ever deleted but refusals, the oldest of more
-- than a million.

-- What is for sale: a row for each SKU. The checks are the last guard: the rules never let it come to them.
CREATE TABLE product (
    sku TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    product TEXT,                           -- SKUs of one product share this
    variant TEXT,                           -- and differ in this
    description TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    currency TEXT NOT NULL CHECK (length(currency) = 3),
    buyer_limit INTEGER CHECK (buyer_limit >= 0),
    low_stock INTEGER CHECK (low_stock >= 0),
    on_sale INTEGER NOT NULL CHECK (on_sale IN (0, 1)),
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,               -- counts edits by people; a sale is none
    available INTEGER NOT NULL CHECK (available >= 0),
    held INTEGER NOT NULL CHECK (held >= 0),
    sold INTEGER NOT NULL CHECK (sold >= 0),
    lease_id TEXT,                          -- what the cloud grants for one show; null: no bound
    lease_units INTEGER CHECK (lease_units >= 0),
    lease_used INTEGER CHECK (lease_used >= 0),
    lease_until INTEGER,
    image TEXT,                             -- the picture's hash
    changed_at INTEGER NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0 CHECK (removed IN (0, 1))
) STRICT;

CREATE TABLE image (
    sku TEXT PRIMARY KEY REFERENCES product (sku),
    content_type TEXT NOT NULL,
    bytes BLOB NOT NULL
) STRICT;

-- `number` counts up, for people; `id` cannot be guessed and is what the buyer gets.
CREATE TABLE orders (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    sku TEXT NOT NULL REFERENCES product (sku),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    buyer TEXT NOT NULL,
    contact TEXT NOT NULL,
    unit_amount INTEGER NOT NULL CHECK (unit_amount >= 0),
    total INTEGER NOT NULL CHECK (total = unit_amount * quantity),
    currency TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'synced', 'confirmed', 'paid', 'rejected', 'cancelled')),
    reason TEXT,
    reservation TEXT REFERENCES reservation (id),
    lease TEXT,
    at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX order_buyer ON orders (buyer, sku);

-- Units kept for a while, at the price of then.
CREATE TABLE reservation (
    id TEXT PRIMARY KEY,
    sku TEXT NOT NULL REFERENCES product (sku),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    buyer TEXT NOT NULL,
    unit_amount INTEGER NOT NULL CHECK (unit_amount >= 0),
    currency TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('held', 'ordered', 'released', 'expired')),
    lease TEXT,
    at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reservation_due ON reservation (expires_at) WHERE state = 'held';
CREATE INDEX reservation_buyer ON reservation (buyer, sku) WHERE state = 'held';

-- What was answered under each idempotency key, so that the same key gets the same answer.
CREATE TABLE answer (
    key TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 16),
    kind TEXT NOT NULL CHECK (kind IN ('order', 'reservation', 'refusal')),
    of TEXT NOT NULL,                       -- the order's or reservation's id, or the problem's name
    detail TEXT,                            -- what the refused buyer was told
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX answer_refused ON answer (at) WHERE kind = 'refusal';

-- Everything that happened, in order. Units that changed place stand in the row, so that a replay proves the stock.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    sku TEXT,
    of TEXT,                                -- the order's or reservation's id
    available INTEGER NOT NULL DEFAULT 0,   -- changes, not counts
    held INTEGER NOT NULL DEFAULT 0,
    sold INTEGER NOT NULL DEFAULT 0,
    data TEXT                               -- JSON, where there is more to say
) STRICT;

-- Single values that must survive: where the outbox stands, whether it is paused, when the show began.
CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
