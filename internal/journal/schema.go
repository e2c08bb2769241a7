package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// applicationID marks a SQLite file as a journal of ours: "vvjl".
const applicationID = 0x76766a6c

// migrations lead from one version of the schema to the next; the version is
// how many have been applied, kept in the file's user_version. What has been
// released is never edited, only added to.
var migrations = []string{
	// AUTOINCREMENT never gives out a number twice, even after the row is
	// gone: that is what makes a token fence.
	`CREATE TABLE claims (
		token     INTEGER PRIMARY KEY AUTOINCREMENT,
		site      TEXT NOT NULL,
		vapp      TEXT NOT NULL,
		holder    TEXT NOT NULL,
		host      TEXT NOT NULL,
		boot      TEXT NOT NULL,
		pid       INTEGER NOT NULL,
		started   TEXT NOT NULL,
		since     INTEGER NOT NULL,
		heartbeat INTEGER NOT NULL,
		UNIQUE (site, vapp)
	) STRICT;
	CREATE TABLE intents (
		id     INTEGER PRIMARY KEY AUTOINCREMENT,
		token  INTEGER NOT NULL,
		run    TEXT NOT NULL,
		site   TEXT NOT NULL,
		vapp   TEXT NOT NULL,
		kind   TEXT NOT NULL,
		object TEXT NOT NULL,
		detail TEXT NOT NULL,
		made   INTEGER NOT NULL
	) STRICT;
	CREATE INDEX intents_by_vapp ON intents (site, vapp, id);`,
}

// migrate brings the file to the newest schema, or refuses it.
func migrate(ctx context.Context, db *sql.DB) error {
	version, err := schemaVersion(ctx, db)
	if err != nil {
		return damaged(err)
	}
	if version == len(migrations) {
		return damaged(check(ctx, db))
	}
	return damaged(inTx(ctx, db, func(tx *sql.Tx) error {
		// Another process may have been here between the look and the lock.
		version, err := schemaVersion(ctx, tx)
		if err != nil {
			return err
		}
		for ; version < len(migrations); version++ {
			if _, err := tx.ExecContext(ctx, migrations[version]); err != nil {
				return fmt.Errorf("migrate to version %d: %w", version+1, err)
			}
		}
		_, err = tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version))
		return err
	}))
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// schemaVersion returns the version of the file's schema, 0 for a new file.
func schemaVersion(ctx context.Context, db queryer) (int, error) {
	var version, application, tables int
	if err := db.QueryRowContext(ctx, "SELECT * FROM pragma_user_version, pragma_application_id, (SELECT count(*) FROM sqlite_schema)").
		Scan(&version, &application, &tables); err != nil {
		return 0, err
	}
	switch {
	case application == 0 && version == 0 && tables == 0:
		return 0, nil
	case application != applicationID:
		return 0, fmt.Errorf("%w: a SQLite file of another program", ErrDamaged)
	case version > len(migrations):
		return 0, fmt.Errorf("%w: it has version %d, this program knows up to %d", ErrNewer, version, len(migrations))
	}
	return version, nil
}

// check reads the whole file, which is small, and so finds damage before
// something relies on it.
func check(ctx context.Context, db *sql.DB) error {
	var result string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, result)
	}
	return nil
}

// damaged turns SQLite's ways to say that a file is no good into ErrDamaged.
func damaged(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff { // the rest is detail
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return err
}
