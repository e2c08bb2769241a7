package backup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
	"github.com/vappvault/vappvault/internal/wording"
)

const (
	// tries is how often a transport may break off without bringing anything,
	// before it gives way to the next.
	tries = 3
	// overloads is how often in a row a host may be too busy for a disk.
	overloads = 8
	// lively is the time over which the rate of a copy is told.
	lively = 2 * time.Second
)

// diskCopy is one disk on its way into the repository.
type diskCopy struct {
	run      *run
	vm       *vmRun
	disk     vsphere.Disk
	rec      *restorepoint.Disk
	sessions *openers
	place    limit.Place
	release  func() // the right to have the disk open

	// What is begun stays over the attempts, until a shortcut turns out to
	// lead nowhere.
	writer    *repository.DiskWriter
	base      *restorepoint.Disk // that the writer began as; nil for zeros
	whole     bool               // of zeros, by a stream: nothing was left out
	mu        sync.Mutex         // of writer and remaining
	remaining *remaining         // nil until it is known
	sample    extent.Set         // to be compared yet
	unread    extent.Set         // of a resumed copy: may hold holes that nobody has asked for

	done, read atomic.Int64 // of this attempt; of all
	total      int64

	reading string           // the transport that the disk was opened through
	session *held            // its session
	tries   int              // how often it has broken off and brought nothing
	busy    int              // how often it was overloaded and brought nothing
	brought int64            // stored when it broke off last
	refused map[string]error // transports that have refused in mid-read
	lied    bool             // CBT was caught
	anew    string           // why nothing is taken over
	seconds time.Duration
	retries sync.Mutex // of rec.Retries
	rate    rate
}

// do copies the disk. A transport that breaks off goes on with another session
// where it was; one that refuses in mid-read, or breaks off again and again,
// gives way to the next. What was stored stays: it is what the snapshot froze,
// whichever way it came.
func (c *diskCopy) do(ctx context.Context) error {
	err := c.until(ctx)
	c.rec.Seconds, c.rec.ReadBytes = c.seconds.Seconds(), c.read.Load()
	if err != nil && ctx.Err() == nil && !errors.Is(err, transport.ErrBroken) && !errors.Is(err, transport.ErrRefused) {
		c.drop() // whatever it is, nothing is built on it
	}
	return err
}

func (c *diskCopy) until(ctx context.Context) error {
	for {
		began := time.Now()
		err := c.attempt(ctx)
		c.seconds += time.Since(began)
		broken, refused := errors.Is(err, transport.ErrBroken), errors.Is(err, transport.ErrRefused)
		if err == nil || ctx.Err() != nil || c.reading == "" || !broken && !refused {
			return err
		}
		c.progressed()
		if again, werr := c.again(ctx, err); again || werr != nil {
			if werr != nil {
				return werr
			}
			continue
		}
		c.retry(ctx, restorepoint.Retry{Transport: c.reading, Reason: err.Error(), GaveWay: true}, "gives way to the next transport")
		c.refused[c.reading], c.tries, c.busy = err, 0, 0
	}
}

// progressed forgets what went wrong before something was brought. A stream
// begins at the front each time: how far it comes is no promise.
func (c *diskCopy) progressed() {
	if c.remaining == nil || c.whole {
		return
	}
	if stored := c.remaining.stored.Load(); stored > c.brought {
		c.tries, c.busy, c.brought = 0, 0, stored
	}
}

// again waits before another try of the same transport, if there is to be one.
func (c *diskCopy) again(ctx context.Context, err error) (bool, error) {
	if !errors.Is(err, transport.ErrBroken) {
		return false, nil
	}
	if c.session != nil {
		c.session.retire()
	}
	if errors.Is(err, transport.ErrOverloaded) {
		if c.busy++; c.busy >= overloads {
			return false, nil
		}
		pause := c.run.Limits.Overloaded(c.sessions.placeOf(c.reading, c.place))
		c.retry(ctx, restorepoint.Retry{Transport: c.reading, Reason: err.Error(), BackOff: pause.Seconds()}, "is asked for less, after a pause")
		// Out of the way of the others, and behind them.
		c.release()
		return true, c.turn(ctx, max(pause, time.Second))
	}
	if c.tries++; c.tries >= tries {
		return false, nil
	}
	c.retry(ctx, restorepoint.Retry{Transport: c.reading, Reason: err.Error()}, "goes on where it broke off")
	return true, pause(ctx, time.Second<<(c.tries-1))
}

// turn waits until the disk may be opened.
func (c *diskCopy) turn(ctx context.Context, least time.Duration) (err error) {
	c.release = func() {}
	if err := pause(ctx, least); err != nil {
		return err
	}
	release, err := c.run.Limits.Disk(ctx, c.place)
	if err == nil {
		c.release = release
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retry records that something went wrong and what is done about it.
func (c *diskCopy) retry(ctx context.Context, r restorepoint.Retry, what string) {
	c.retries.Lock()
	r.Time = time.Now().UTC()
	c.rec.RetryCount++
	count := c.rec.RetryCount
	if len(c.rec.Retries) < restorepoint.MaxRetries {
		c.rec.Retries = append(c.rec.Retries, r)
	}
	c.retries.Unlock()
	c.run.Logger.WarnContext(ctx, "disk is read again", "vm", c.vm.rec.Name, "disk", c.disk.Label, "transport", r.Transport,
		"what", what, "retry", count, "pause", r.BackOff, "error", r.Reason)
	c.run.Progress.Emit(progress.Event{
		Kind: progress.Info, Org: c.run.vapp.Org.Name, VApp: c.run.vapp.Name, VM: c.vm.rec.Name, Disk: c.disk.Label,
		Transport: r.Transport, Retries: count, Message: fmt.Sprintf("%s %s after %s: %s", r.Transport, what, wording.Size(c.read.Load()), r.Reason),
	})
}

// attempt copies through one transport what has not been copied. The bytes are
// all still there, whatever is found to be wrong with CBT or the parent.
func (c *diskCopy) attempt(ctx context.Context) error {
	for {
		if c.writer == nil {
			if err := c.begin(ctx); err != nil && !c.distrust(ctx, err) {
				return err
			}
			continue
		}
		err := c.through(ctx)
		if !c.distrust(ctx, err) {
			return err
		}
	}
}

// begin decides what the copy builds on. Nothing is known of what is to be
// read in a full copy until a transport is open.
func (c *diskCopy) begin(ctx context.Context) error {
	p, err := c.plan(ctx)
	if err != nil {
		return err
	}
	var content *restorepoint.DiskContent
	if p.base != nil {
		content = &p.base.Content
	}
	writer, err := c.run.writer.Disk(ctx, c.disk.Capacity, content)
	if err != nil {
		if p.base != nil {
			return fmt.Errorf("%w: %w", errParent, err)
		}
		return err
	}
	c.setWriter(writer, p.base)
	c.rec.Mode, c.rec.FullReason, c.rec.Resumed = p.mode, p.why, p.resumed
	c.whole = false
	if p.base != nil {
		if c.sample, err = c.unchanged(ctx, p.base, p.set); err != nil {
			return fmt.Errorf("choose a sample: %w", err)
		}
		c.setRemaining(newRemaining(p.set))
		c.unread = p.unread
	}
	c.resumable()
	return nil
}

// through opens the disk and copies what remains.
func (c *diskCopy) through(ctx context.Context) error {
	reader, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer c.close(reader)
	switch reader := reader.(type) {
	case transport.Stream:
		if err = c.fromZeros(ctx); err == nil {
			err = c.stream(ctx, reader)
		}
	case transport.Source:
		err = c.source(ctx, reader)
	default:
		err = fmt.Errorf("transport %s: neither source nor stream", c.rec.Transport)
	}
	if err != nil {
		return err
	}
	return c.finish(ctx)
}

// missing returns what a source is to bring, and a sample of what it need not.
func (c *diskCopy) missing(ctx context.Context, src transport.Source) (set, sample extent.Set, err error) {
	switch {
	case c.remaining == nil:
		return c.holding(ctx, src)
	case c.whole:
		// A stream began it, which asks nobody what holds data. Where it has
		// not been there are zeros yet.
		set, sample, err = c.holding(ctx, src)
		return c.remaining.left().Intersect(set), sample, err
	case len(c.unread) > 0:
		set, sample, err = c.withoutHoles(ctx, src)
		return set, c.sample.Union(sample), err
	}
	return c.remaining.left(), c.sample, nil
}

// source copies from a source what remains.
func (c *diskCopy) source(ctx context.Context, src transport.Source) error {
	set, sample, err := c.missing(ctx, src)
	if err != nil {
		return err
	}
	rest := newRemaining(set)
	c.total = set.Bytes() + sample.Bytes()
	c.done.Store(0)
	flow := &Flow{
		Source: src, Disk: c.writer, Limits: c.run.Limits, Place: c.place, OnBase: c.base != nil, Central: c.session.central,
		Handed: rest.handed, Stored: func(part extent.Extent) { c.stored(rest, part) },
		Read: func(n int64) {
			c.read.Add(n)
			c.emit(c.done.Add(n), c.total)
		},
		Again: func(reason error, pause time.Duration) {
			c.retry(ctx, restorepoint.Retry{Transport: c.rec.Transport, Reason: reason.Error(), BackOff: pause.Seconds()}, "is asked for less, after a pause")
		},
	}
	// The sample goes first: it may tell that all the rest is in vain. Nor is a
	// checkpoint to leave out what has not been looked at.
	if len(sample) > 0 {
		c.rec.SampleBytes += sample.Bytes()
		if err := flow.Check(ctx, sample); err != nil {
			return err
		}
	}
	c.whole, c.sample, c.unread = false, nil, nil
	c.setRemaining(rest)
	return flow.Copy(ctx, set)
}

// stored notes that a part is in the repository, and has a checkpoint saved
// where enough has come together since the last.
func (c *diskCopy) stored(rest *remaining, part extent.Extent) {
	rest.done(part)
	if every := c.run.CheckpointBytes; c.run.copied.Add(part.Length)%every < part.Length {
		c.run.writer.SaveSoon()
	}
}

func (c *diskCopy) setRemaining(r *remaining) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.remaining != nil {
		r.stored.Add(c.remaining.stored.Load())
	}
	c.remaining = r
}

// fromZeros makes sure that the disk began as zeros and that nothing was left
// out of it: a stream brings every byte anyway, and need believe nobody.
func (c *diskCopy) fromZeros(ctx context.Context) error {
	if c.base == nil && c.remaining == nil && !c.whole {
		c.whole = true
		c.setRemaining(newRemaining(extent.Of(extent.Extent{Length: c.disk.Capacity})))
	}
	if c.whole {
		return nil
	}
	why := c.rec.FullReason
	if c.base != nil {
		why = "transport " + c.rec.Transport + " reads disks whole"
	}
	if c.rec.Resumed != nil {
		c.rec.NotResumed = why
	}
	c.drop()
	writer, err := c.run.writer.Disk(ctx, c.disk.Capacity, nil)
	if err != nil {
		return err
	}
	c.setWriter(writer, nil)
	c.whole = true
	c.rec.Mode, c.rec.FullReason, c.rec.Parent, c.rec.Resumed = "full", why, "", nil
	c.setRemaining(newRemaining(extent.Of(extent.Extent{Length: c.disk.Capacity})))
	c.resumable()
	return nil
}

// drop gives up what was begun.
func (c *diskCopy) drop() {
	if c.writer != nil {
		c.run.writer.Drop(c.writer)
	}
	c.setWriter(nil, nil)
}

func (c *diskCopy) setWriter(w *repository.DiskWriter, base *restorepoint.Disk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writer, c.base, c.remaining, c.sample, c.unread, c.brought = w, base, nil, nil, nil, 0
}

// distrust tells whether err means that a shortcut led nowhere: then the
// disk is to be read anew, without it. Each shortcut is distrusted once.
func (c *diskCopy) distrust(ctx context.Context, err error) bool {
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, errLied) && !c.lied:
		c.lied = true
	case errors.Is(err, errParent) && c.anew == "":
	default:
		return false
	}
	c.anew = err.Error()
	c.drop()
	c.run.problem(restorepoint.Problem{VM: c.vm.rec.Name, Disk: c.disk.Label, Message: c.anew + ": the whole disk was read"})
	return true
}

func (c *diskCopy) open(ctx context.Context) (transport.Reader, error) {
	reader, session, name, over, err := c.sessions.disk(ctx, c.disk.Key, c.refused)
	c.reading, c.session = name, session
	if err != nil {
		return nil, err
	}
	c.rec.PassedOver = over
	c.rec.Transport, c.rec.TransportMode = c.reading, ""
	if m, ok := reader.(transport.Moded); ok {
		c.rec.TransportMode = m.Mode()
	}
	if reader.Size() != c.disk.Capacity {
		defer session.release()
		return nil, errors.Join(
			fmt.Errorf("transport %s: %w: %d bytes, vSphere says %d", c.reading, transport.ErrRefused, reader.Size(), c.disk.Capacity), reader.Close())
	}
	return reader, nil
}

// close closes a reader. By then every byte has been checked or an error is
// on its way, so that a failing close has nothing to add but a log line.
func (c *diskCopy) close(reader transport.Reader) {
	c.rec.WireBytes += reader.Transferred()
	if err := reader.Close(); err != nil {
		c.run.Logger.Warn("close transport", "vm", c.vm.rec.Name, "disk", c.disk.Label, "error", err)
	}
	c.session.release()
}

func (c *diskCopy) finish(ctx context.Context) error {
	content, err := c.writer.Finish(ctx)
	if err != nil {
		return fmt.Errorf("finish: %w", err)
	}
	if r := c.rec.Resumed; r != nil {
		content.WrittenBytes += r.Bytes
		content.StoredBytes += r.Stored
	}
	c.rec.Content = content
	c.emit(c.total, c.total)
	return nil
}

func (c *diskCopy) emit(done, total int64) {
	c.retries.Lock()
	retries := c.rec.RetryCount
	c.retries.Unlock()
	c.run.Progress.Emit(progress.Event{
		Kind: progress.Bytes, Org: c.run.vapp.Org.Name, VApp: c.run.vapp.Name, VM: c.vm.rec.Name, Disk: c.disk.Label,
		Done: done, Total: total, Transport: c.rec.Transport, Rate: c.rate.at(c.read.Load()), Retries: retries,
	})
}

// A rate is how fast something grows of late.
type rate struct {
	mu    sync.Mutex
	since time.Time
	from  int64
	last  int64 // per second
}

// at tells the rate when n is reached.
func (r *rate) at(n int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.since.IsZero() {
		r.since, r.from = now, n
	}
	if d := now.Sub(r.since); d >= lively {
		r.last = int64(float64(n-r.from) / d.Seconds())
		r.since, r.from = now, n
	}
	return r.last
}
