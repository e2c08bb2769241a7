// Package journal keeps, on one machine, who works on which vApp and what
// they were about to change outside.
//
// An intent is written, and is on disk, before the change it announces is
// made; it is settled after the change was undone or is no longer to be
// undone. What is found open later is what a crashed run left behind. The
// journal stores intents and gives them back in order; it neither knows what
// their kinds mean nor does anything about them.
//
// A claim keeps two processes off one vApp. It is alive while its holder's
// heartbeat is; a dead one is taken over with a higher token, and from then
// on nothing can be written under the old token.
package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/vappvault/vappvault/internal/process"
)

// Errors that callers can test for.
var (
	// ErrClaimed says that someone else works on the vApp; see Claimed.
	ErrClaimed = errors.New("claimed")
	// ErrFenced says that a claim is no longer held: it was released, or
	// went stale and was taken over.
	ErrFenced = errors.New("claim lost")
	// ErrNewer says that a newer program wrote the journal.
	ErrNewer = errors.New("journal is of a newer version")
	// ErrDamaged says that the file is no journal or is damaged.
	ErrDamaged = errors.New("journal is damaged")
)

// StaleAfter is the age of a heartbeat from which on its claim can be taken
// over.
const StaleAfter = 60 * time.Second

// A Journal is an open journal. It is safe for concurrent use, by several
// processes too.
type Journal struct {
	db    *sql.DB
	self  process.Process
	stale time.Duration
	now   func() time.Time
}

// Open opens the journal at path, and makes it, and the folder it is in,
// where there is none. ErrNewer and ErrDamaged tell what is wrong with a
// file that cannot be used; it is left as it is.
func Open(ctx context.Context, path string) (*Journal, error) {
	j, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	return j, nil
}

func open(ctx context.Context, path string) (*Journal, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o700); err != nil {
		return nil, err
	}
	// Made here and not by SQLite, so that nobody else can read it.
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	self, err := process.This()
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(abs))
	if err != nil {
		return nil, err
	}
	// One connection: transactions of one process queue here in order
	// rather than in SQLite, which polls.
	db.SetMaxOpenConns(1)
	if err := migrate(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Journal{db: db, self: self, stale: StaleAfter, now: time.Now}, nil
}

// dsn asks for write-ahead logging, with the log flushed at every commit,
// and for transactions that take the write lock at their start, so that none
// fails half-way because another process came first.
func dsn(abs string) string {
	u := url.URL{Scheme: "file", Path: abs, RawQuery: url.Values{
		"_pragma": {"busy_timeout(30000)", "journal_mode(WAL)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	}.Encode()}
	return u.String()
}

// Close closes the journal. Claims that were not released go stale.
func (j *Journal) Close() error { return j.db.Close() }

// tx runs f in a transaction that holds the write lock.
func (j *Journal) tx(ctx context.Context, f func(*sql.Tx) error) error {
	return inTx(ctx, j.db, f)
}

func inTx(ctx context.Context, db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // f's error is the one that matters
		return err
	}
	return tx.Commit()
}

// Times are kept as milliseconds since 1970, UTC.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
