package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// An Intent announces one change outside. Kind and what Object and Detail
// mean for it are the caller's.
type Intent struct {
	ID         int64 // set by Intend; later intents have higher ones
	Claim      int64 // token of the claim under which it is made
	Run        string
	Site, VApp string
	Kind       string
	Object     string            // what is changed
	Detail     map[string]string // what else is needed to settle it; no secrets
	Made       time.Time         // set by Intend
}

// Intend writes an intent and returns its id. When it returns, the intent is
// on disk. ErrFenced means that the claim is no longer held: the change must
// not be made.
func (j *Journal) Intend(ctx context.Context, in Intent) (int64, error) {
	var id int64
	err := j.tx(ctx, func(tx *sql.Tx) (err error) {
		id, err = j.insert(ctx, tx, in)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("intent %s %s: %w", in.Kind, in.Object, err)
	}
	return id, nil
}

func (j *Journal) insert(ctx context.Context, tx *sql.Tx, in Intent) (int64, error) {
	detail, err := encode(in.Detail)
	if err != nil {
		return 0, err
	}
	if err := held(ctx, tx, in.Claim, in.Site, in.VApp); err != nil {
		return 0, err
	}
	res, err := tx.ExecContext(ctx,
		`INSERT INTO intents (token, run, site, vapp, kind, object, detail, made) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		in.Claim, in.Run, in.Site, in.VApp, in.Kind, in.Object, detail, millis(j.now()))
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// Amend adds to the detail of an open intent what became known only while
// the change was made, such as the id of what it created. An intent that is
// settled already is left alone.
func (j *Journal) Amend(ctx context.Context, id int64, detail map[string]string) error {
	err := j.tx(ctx, func(tx *sql.Tx) error {
		var text string
		err := tx.QueryRowContext(ctx, `SELECT detail FROM intents WHERE id = ?`, id).Scan(&text)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		merged := map[string]string{}
		if err := json.Unmarshal([]byte(text), &merged); err != nil {
			return fmt.Errorf("%w: detail: %w", ErrDamaged, err)
		}
		for k, v := range detail {
			merged[k] = v
		}
		if text, err = encode(merged); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE intents SET detail = ? WHERE id = ?`, text, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("intent %d: amend: %w", id, err)
	}
	return nil
}

// Settle closes an intent: its change was undone, or shall stay. Settling
// twice does no harm.
func (j *Journal) Settle(ctx context.Context, id int64) error {
	if _, err := j.db.ExecContext(ctx, `DELETE FROM intents WHERE id = ?`, id); err != nil {
		return fmt.Errorf("intent %d: settle: %w", id, err)
	}
	return nil
}

// Replace settles some intents and writes others, all or none of it: the step
// from which on there is no way back. It returns the ids of the new ones.
// ErrFenced means that the claim is no longer held, and nothing has changed.
func (j *Journal) Replace(ctx context.Context, settle []int64, add []Intent) ([]int64, error) {
	ids := make([]int64, 0, len(add))
	err := j.tx(ctx, func(tx *sql.Tx) error {
		for _, id := range settle {
			if _, err := tx.ExecContext(ctx, `DELETE FROM intents WHERE id = ?`, id); err != nil {
				return err
			}
		}
		for _, in := range add {
			id, err := j.insert(ctx, tx, in)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("replace %d intents: %w", len(settle), err)
	}
	return ids, nil
}

// A Filter narrows a listing; empty fields do not.
type Filter struct {
	Site, VApp string
}

// OpenIntents returns what has not been settled, in the order it was made.
func (j *Journal) OpenIntents(ctx context.Context, f Filter) ([]Intent, error) {
	intents, err := j.openIntents(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("open intents: %w", err)
	}
	return intents, nil
}

func (j *Journal) openIntents(ctx context.Context, f Filter) ([]Intent, error) {
	rows, err := j.db.QueryContext(ctx,
		`SELECT id, token, run, site, vapp, kind, object, detail, made FROM intents
		 WHERE (?1 = '' OR site = ?1) AND (?2 = '' OR vapp = ?2) ORDER BY id`, f.Site, f.VApp)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var intents []Intent
	for rows.Next() {
		var (
			in     Intent
			detail string
			made   int64
		)
		if err := rows.Scan(&in.ID, &in.Claim, &in.Run, &in.Site, &in.VApp, &in.Kind, &in.Object, &detail, &made); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(detail), &in.Detail); err != nil {
			return nil, fmt.Errorf("intent %d: %w: detail: %w", in.ID, ErrDamaged, err)
		}
		in.Made = fromMillis(made)
		intents = append(intents, in)
	}
	return intents, rows.Err()
}

func encode(detail map[string]string) (string, error) {
	if detail == nil {
		detail = map[string]string{}
	}
	b, err := json.Marshal(detail)
	return string(b), err
}
