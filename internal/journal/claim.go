package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vappvault/vappvault/internal/process"
)

// Claimed is the ErrClaimed that says who holds the vApp.
type Claimed struct {
	Site, VApp string
	Holder     string
	Host       string
	PID        int
	Since      time.Time
}

func (e *Claimed) Error() string {
	return fmt.Sprintf("claimed by %s (process %d on %s) since %s",
		e.Holder, e.PID, e.Host, e.Since.Format(time.RFC3339))
}

// Is makes a *Claimed an ErrClaimed.
func (e *Claimed) Is(target error) bool { return target == ErrClaimed }

// A Claim is the right to work on one vApp. It keeps its heartbeat going by
// itself until it is released or lost.
type Claim struct {
	Token      int64 // higher than that of every earlier claim in the journal
	Site, VApp string
	// Replaced is the claim that was taken over because its holder was
	// dead or silent; nil where the vApp was free.
	Replaced *Claimed

	j    *Journal
	stop context.CancelFunc
	done chan struct{} // the heartbeat has ended
	once sync.Once
	lost chan struct{}
}

// Claim claims a vApp of a site for the holder, words that tell a person
// what is going on ("backup"). While someone else holds it, the error is a
// *Claimed. A claim whose process is dead, or whose heartbeat is older than
// StaleAfter, is taken over.
func (j *Journal) Claim(ctx context.Context, site, vapp, holder string) (*Claim, error) {
	c := &Claim{Site: site, VApp: vapp, j: j, done: make(chan struct{}), lost: make(chan struct{})}
	err := j.tx(ctx, func(tx *sql.Tx) error {
		now := j.now()
		previous, err := j.holder(ctx, tx, site, vapp, now)
		if err != nil {
			return err
		}
		c.Replaced = previous
		if _, err := tx.ExecContext(ctx, `DELETE FROM claims WHERE site = ? AND vapp = ?`, site, vapp); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx,
			`INSERT INTO claims (site, vapp, holder, host, boot, pid, started, since, heartbeat) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			site, vapp, holder, j.self.Host, j.self.Boot, j.self.PID, j.self.Started, millis(now), millis(now))
		if err != nil {
			return err
		}
		c.Token, err = res.LastInsertId()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", vapp, err)
	}
	// The heartbeat outlives ctx: a run that is cancelled still has to tidy
	// up under its claim.
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	go c.beat(beating)
	return c, nil
}

// holder returns who holds the vApp but is dead or silent, nil where nobody
// holds it, and fails where the holder lives.
func (j *Journal) holder(ctx context.Context, tx *sql.Tx, site, vapp string, now time.Time) (*Claimed, error) {
	var (
		p                process.Process
		since, heartbeat int64
	)
	e := &Claimed{Site: site, VApp: vapp}
	err := tx.QueryRowContext(ctx,
		`SELECT holder, host, boot, pid, started, since, heartbeat FROM claims WHERE site = ? AND vapp = ?`, site, vapp).
		Scan(&e.Holder, &p.Host, &p.Boot, &p.PID, &p.Started, &since, &heartbeat)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e.Host, e.PID, e.Since = p.Host, p.PID, fromMillis(since)
	if !p.Dead(j.self) && now.Sub(fromMillis(heartbeat)) < j.stale {
		return nil, e
	}
	return e, nil
}

// beat renews the heartbeat until the claim is released or lost. A claim
// that could not be renewed in time counts as lost: others may have it.
func (c *Claim) beat(ctx context.Context) {
	defer close(c.done)
	tick := time.NewTicker(c.j.stale / 6)
	defer tick.Stop()
	renewed := time.Now() // monotonic, whatever the wall clock does
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		at := time.Now()
		timed, cancel := context.WithTimeout(ctx, c.j.stale/2)
		err := c.renew(timed)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			renewed = at
		case errors.Is(err, ErrFenced), time.Since(renewed) >= c.j.stale:
			close(c.lost)
			return
		}
	}
}

func (c *Claim) renew(ctx context.Context) error {
	res, err := c.j.db.ExecContext(ctx, `UPDATE claims SET heartbeat = ? WHERE token = ?`, millis(c.j.now()), c.Token)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(ErrFenced, err)
	}
	return nil
}

// Lost is closed when the claim was found to be lost.
func (c *Claim) Lost() <-chan struct{} { return c.lost }

// Context returns a context that ends, with ErrFenced as its cause, when the
// claim is lost.
func (c *Claim) Context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		select {
		case <-c.lost:
			cancel(fmt.Errorf("claim %s: %w", c.VApp, ErrFenced))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// Valid asks the journal whether the claim is still held: nil, or ErrFenced.
func (c *Claim) Valid(ctx context.Context) error {
	if err := c.j.tx(ctx, func(tx *sql.Tx) error { return held(ctx, tx, c.Token, c.Site, c.VApp) }); err != nil {
		return fmt.Errorf("claim %s: %w", c.VApp, err)
	}
	return nil
}

// Release gives the claim back. One that was lost is left to its new holder;
// releasing twice does no harm.
func (c *Claim) Release(ctx context.Context) error {
	c.once.Do(func() { c.stop(); <-c.done })
	if _, err := c.j.db.ExecContext(ctx, `DELETE FROM claims WHERE token = ?`, c.Token); err != nil {
		return fmt.Errorf("claim %s: release: %w", c.VApp, err)
	}
	return nil
}

// held fails with ErrFenced unless the token is that of the vApp's claim.
func held(ctx context.Context, tx *sql.Tx, token int64, site, vapp string) error {
	var one int
	err := tx.QueryRowContext(ctx,
		`SELECT 1 FROM claims WHERE token = ? AND site = ? AND vapp = ?`, token, site, vapp).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrFenced
	}
	return err
}
