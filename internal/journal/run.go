package journal

import (
	"context"
	"fmt"
	"time"
)

// A Run is one row of history: what was done to which vApp and how it ended.
type Run struct {
	ID         string // ULID
	Kind       string // backup, restore, …
	Site, VApp string
	Name       string // the vApp's selector, for people
	Started    time.Time
	Finished   time.Time // zero while it runs, and for ever if it crashed
	Outcome    string    // done, partial, failed, cancelled, …
	Message    string
}

// Begin records that a run has started.
func (j *Journal) Begin(ctx context.Context, r Run) error {
	if r.Started.IsZero() {
		r.Started = j.now()
	}
	_, err := j.db.ExecContext(ctx,
		`INSERT INTO runs (id, kind, site, vapp, name, started, finished, outcome, message) VALUES (?, ?, ?, ?, ?, ?, 0, '', '')`,
		r.ID, r.Kind, r.Site, r.VApp, r.Name, millis(r.Started))
	if err != nil {
		return fmt.Errorf("run %s: begin: %w", r.ID, err)
	}
	return nil
}

// Finish records how a run ended.
func (j *Journal) Finish(ctx context.Context, id, outcome, message string) error {
	_, err := j.db.ExecContext(ctx,
		`UPDATE runs SET finished = ?, outcome = ?, message = ? WHERE id = ?`, millis(j.now()), outcome, message, id)
	if err != nil {
		return fmt.Errorf("run %s: finish: %w", id, err)
	}
	return nil
}

// Runs returns the newest runs, at most limit of them, newest first.
func (j *Journal) Runs(ctx context.Context, f Filter, limit int) ([]Run, error) {
	runs, err := j.runs(ctx, f, limit)
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	return runs, nil
}

func (j *Journal) runs(ctx context.Context, f Filter, limit int) ([]Run, error) {
	rows, err := j.db.QueryContext(ctx,
		`SELECT id, kind, site, vapp, name, started, finished, outcome, message FROM runs
		 WHERE (?1 = '' OR site = ?1) AND (?2 = '' OR vapp = ?2) ORDER BY started DESC, id DESC LIMIT ?3`, f.Site, f.VApp, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var runs []Run
	for rows.Next() {
		var (
			r                 Run
			started, finished int64
		)
		if err := rows.Scan(&r.ID, &r.Kind, &r.Site, &r.VApp, &r.Name, &started, &finished, &r.Outcome, &r.Message); err != nil {
			return nil, err
		}
		r.Started, r.Finished = fromMillis(started), fromMillis(finished)
		runs = append(runs, r)
	}
	return runs, rows.Err()
}
