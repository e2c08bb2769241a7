package limit

import (
	"context"
	"slices"
	"time"
)

// A waiter asks for the same amount of several gauges at once, so that nobody
// holds the one while waiting for the other.
type waiter struct {
	needs   [3]*gauge
	count   int
	amount  int64
	passing bool // holds nothing once it is granted
	of      *tenant
	turn    int64
	ready   chan struct{} // closed when granted
}

func (w *waiter) need(g *gauge) {
	w.needs[w.count] = g
	w.count++
}

// A tenant is one vApp in one queue.
type tenant struct {
	held    int64 // of what the queue hands out
	had     int64 // so far, with what it missed while it asked for nothing
	waiting int
}

// A queue hands out one kind of thing.
type queue struct {
	tenants map[string]*tenant
	waiting []*waiter
	turn    int64
	had     int64 // by the one that was granted last, when it was
	pass    int64
}

// wait waits until w is granted on behalf of a vApp. The lock is held when it
// is called, and not when it returns.
func (l *Limits) wait(ctx context.Context, q *queue, vapp string, w waiter) error {
	if err := ctx.Err(); err != nil {
		l.mu.Unlock()
		return err
	}
	w.of = q.tenant(vapp)
	if len(q.waiting) == 0 {
		if ok, _ := w.fits(time.Now()); ok {
			q.grant(&w, time.Now())
			l.mu.Unlock()
			return nil
		}
	}
	mine := q.enter(w)
	l.dispatch(q)
	l.mu.Unlock()
	select {
	case <-mine.ready:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-mine.ready: // meanwhile; nobody will use it
		if !mine.passing {
			q.giveBack(vapp, *mine)
		}
	default:
		q.waiting = slices.DeleteFunc(q.waiting, func(o *waiter) bool { return o == mine })
		mine.of.waiting--
	}
	l.dispatch(q)
	return ctx.Err()
}

// enter puts a waiter into the queue.
func (q *queue) enter(w waiter) *waiter {
	q.turn++
	w.turn, w.ready = q.turn, make(chan struct{})
	q.waiting = append(q.waiting, &w)
	w.of.waiting++
	return &w
}

// tenant returns a vApp. Who asked for nothing for a while cannot make up for
// it at the cost of those who did.
func (q *queue) tenant(vapp string) *tenant {
	t := q.tenants[vapp]
	if t == nil {
		if q.tenants == nil {
			q.tenants = map[string]*tenant{}
		}
		t = &tenant{}
		q.tenants[vapp] = t
	}
	if t.held == 0 && t.waiting == 0 {
		t.had = max(t.had, q.had)
	}
	return t
}

// fits tells whether w can be granted, or from when on as far as that is known.
func (w *waiter) fits(now time.Time) (bool, time.Time) {
	for _, g := range w.needs[:w.count] {
		if ok, at := g.free(w.amount, now); !ok {
			return false, at
		}
	}
	return true, time.Time{}
}

func (q *queue) grant(w *waiter, now time.Time) {
	for _, g := range w.needs[:w.count] {
		g.take(w.amount, now)
	}
	q.had = max(q.had, w.of.had)
	w.of.had += w.amount
	if !w.passing {
		w.of.held += w.amount
	}
}

func (q *queue) giveBack(vapp string, w waiter) {
	for _, g := range w.needs[:w.count] {
		g.giveBack(w.amount)
	}
	if t := q.tenants[vapp]; t != nil {
		t.held -= w.amount
		if t.held == 0 && t.waiting == 0 && len(q.tenants) > 256 {
			delete(q.tenants, vapp)
		}
	}
}

// dispatch grants what can be granted, and sees to it that somebody looks again
// when more can be by the clock alone. The lock is held.
func (l *Limits) dispatch(q *queue) {
	now := time.Now()
	for {
		next, at := q.next(now)
		if next == nil {
			if !at.IsZero() {
				l.look(at, now)
			}
			return
		}
		q.waiting = slices.DeleteFunc(q.waiting, func(o *waiter) bool { return o == next })
		next.of.waiting--
		q.grant(next, now)
		close(next.ready)
	}
}

// next returns who is to be granted, or from when on it is worth to look again.
// What the first in rank waits for, nobody behind it is given.
func (q *queue) next(now time.Time) (next *waiter, at time.Time) {
	if len(q.waiting) == 0 {
		return nil, at
	}
	slices.SortFunc(q.waiting, rank)
	q.pass++
	for _, w := range q.waiting {
		fits := true
		for _, g := range w.needs[:w.count] {
			ok, from := g.free(w.amount, now)
			if ok && g.asked != q.pass {
				continue
			}
			fits, g.asked = false, q.pass
			if !ok {
				at = earlier(at, from)
			}
		}
		if fits {
			return w, time.Time{}
		}
	}
	return nil, at
}

// look has the queues looked at again at a time. The lock is held.
func (l *Limits) look(at, now time.Time) {
	if !l.due.IsZero() && !at.Before(l.due) {
		return
	}
	l.due = at
	if l.timer == nil {
		l.timer = time.AfterFunc(at.Sub(now), l.again)
		return
	}
	l.timer.Reset(at.Sub(now))
}

func (l *Limits) again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = time.Time{}
	l.dispatch(&l.disks)
	l.dispatch(&l.flights)
	l.dispatch(&l.buffers)
	l.dispatch(&l.workers)
}
