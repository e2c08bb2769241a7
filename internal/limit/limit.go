// Package limit bounds what one process does to hosts, vCenters, the line and
// its own memory, and shares it out fairly between vApps.
//
// A disk that is open, bytes that were asked for and have not come, bytes per
// second and buffers are each granted from one queue. What is free goes to the
// vApp that holds least of it, and among equals to the one that has had least,
// so that a vApp with forty disks does not starve one with a single disk.
// Nobody is passed over for ever: who asks for less does not slip past a larger
// request that waits for the same thing.
//
// A host that says it is overloaded gets half of what is under way, after a
// pause, and the rest back in steps. Every wait ends with its context; nothing
// here runs in the background.
package limit

import (
	"cmp"
	"context"
	"runtime"
	"sync"
	"time"
)

// A Bound is what one host or one vCenter is asked for at a time.
type Bound struct {
	Disks    int   // open
	InFlight int64 // bytes asked for that have not come yet
}

// A Config is what New makes limits from. Zero is no limit.
type Config struct {
	Disks      int // open in this process
	PerHost    Bound
	PerVCenter Bound
	Bandwidth  int64 // bytes per second over everything
	Memory     int64 // bytes of all buffers
	Workers    int   // that store at once; 0: one for each processor
}

// A Place is where a disk is read or written, and for whom. An empty Host is
// one that is not known, or a transfer that goes through vCenter alone.
type Place struct {
	Host    string // managed object reference
	VCenter string // instance UUID
	VApp    string
}

const (
	unlimited = int64(1) << 50
	// leastFlight is what may be in flight even to a host that is overloaded.
	leastFlight = 1 << 20
	// burst is how far ahead of the bandwidth limit the line may get.
	burst = 100 * time.Millisecond
	// recovery is the time between two steps back up.
	recovery = 30 * time.Second
	// firstPause and lastPause bound the pause after an overload; it doubles
	// with each until all is well again.
	firstPause = time.Second
	lastPause  = time.Minute
)

// Limits are shared by all that one process does. They are safe for concurrent
// use.
type Limits struct {
	config Config

	mu      sync.Mutex
	scopes  map[Place]*scope // of hosts and of vCenters
	process gauge
	memory  gauge
	pace    gauge
	cpu     gauge

	disks, flights, buffers, workers queue

	timer *time.Timer
	due   time.Time // of the timer, where it is set
	free  [][]byte
	kept  int64 // bytes of free
}

// A scope is one host or one vCenter.
type scope struct {
	disks, bytes gauge
	changed      time.Time // when its limits were last moved
	pause        time.Duration
}

// A gauge is something of which so much can be used at a time.
type gauge struct {
	limit, most int64 // now, and as configured
	least       int64 // that an overload leaves
	used        int64
	notBefore   time.Time
	rate        int64 // of the line: bytes per second; notBefore is when it is free
	asked       int64 // the pass of a queue in which somebody waits for it
}

// New makes limits.
func New(c Config) *Limits {
	l := &Limits{
		config: c, scopes: map[Place]*scope{},
		process: newGauge(int64(c.Disks), 1), memory: newGauge(c.Memory, 1), pace: newGauge(0, 1),
	}
	l.pace.rate = c.Bandwidth
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	l.cpu = newGauge(int64(c.Workers), 1)
	return l
}

func newGauge(limit, least int64) gauge {
	if limit <= 0 {
		limit = unlimited
	}
	return gauge{limit: limit, most: limit, least: least}
}

// scope returns a host or vCenter. The lock is held.
func (l *Limits) scope(p Place) *scope {
	p.VApp = ""
	s := l.scopes[p]
	if s == nil {
		b := l.config.PerHost
		if p.Host == "" {
			b = l.config.PerVCenter
		}
		s = &scope{disks: newGauge(int64(b.Disks), 1), bytes: newGauge(b.InFlight, leastFlight)}
		l.scopes[p] = s
	}
	return s
}

// around returns the scopes that a place lies in. The lock is held.
func (l *Limits) around(p Place) (host, vcenter *scope) {
	if p.Host != "" {
		host = l.scope(p)
	}
	if p.VCenter != "" {
		vcenter = l.scope(Place{VCenter: p.VCenter})
	}
	return host, vcenter
}

// Disk waits until a disk may be opened. It is to be released once, after it
// is closed; more often does no harm. The only error is that of ctx.
func (l *Limits) Disk(ctx context.Context, p Place) (release func(), err error) {
	l.mu.Lock()
	w := waiter{amount: 1}
	w.need(&l.process)
	host, vcenter := l.around(p)
	if host != nil {
		w.need(&host.disks)
	}
	if vcenter != nil {
		w.need(&vcenter.disks)
	}
	if err := l.wait(ctx, &l.disks, p.VApp, w); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.disks.giveBack(p.VApp, w)
		l.dispatch(&l.disks)
	}), nil
}

// Flight waits until n bytes may be asked for, by what is in flight and by the
// bandwidth. Landed is to be called when they have come, or will not. The only
// error is that of ctx.
func (l *Limits) Flight(ctx context.Context, p Place, n int64) error {
	l.mu.Lock()
	w := l.flight(p, n)
	l.paced(&w)
	return l.wait(ctx, &l.flights, p.VApp, w)
}

// Landed says that n bytes which Flight let go are not under way any more.
func (l *Limits) Landed(p Place, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flights.giveBack(p.VApp, l.flight(p, n))
	l.dispatch(&l.flights)
}

func (l *Limits) flight(p Place, n int64) waiter {
	w := waiter{amount: n}
	host, vcenter := l.around(p)
	if host != nil {
		w.need(&host.bytes)
	}
	if vcenter != nil {
		w.need(&vcenter.bytes)
	}
	return w
}

// Pace waits until the bandwidth allows n bytes more. It is for what comes as
// it likes, such as a stream. The only error is that of ctx.
func (l *Limits) Pace(ctx context.Context, p Place, n int64) error {
	l.mu.Lock()
	w := waiter{amount: n, passing: true}
	l.paced(&w)
	return l.wait(ctx, &l.flights, p.VApp, w)
}

func (l *Limits) paced(w *waiter) {
	if l.pace.rate > 0 {
		w.need(&l.pace)
	}
}

// Bytes is Pace on behalf of no vApp.
func (l *Limits) Bytes(ctx context.Context, n int64) error { return l.Pace(ctx, Place{}, n) }

// Work waits for a turn to hash, compress and store; Worked ends it. The only
// error is that of ctx.
func (l *Limits) Work(ctx context.Context, p Place) error {
	l.mu.Lock()
	w := waiter{amount: 1}
	w.need(&l.cpu)
	return l.wait(ctx, &l.workers, p.VApp, w)
}

// Worked ends what Work began.
func (l *Limits) Worked(p Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := waiter{amount: 1}
	w.need(&l.cpu)
	l.workers.giveBack(p.VApp, w)
	l.dispatch(&l.workers)
}

// Workers is how many may Work at once.
func (l *Limits) Workers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.cpu.most)
}

// Buffer waits for memory and returns n bytes of it, whose content is what it
// happens to be. Return takes it back.
func (l *Limits) Buffer(ctx context.Context, p Place, n int64) ([]byte, error) {
	l.mu.Lock()
	w := waiter{amount: n}
	w.need(&l.memory)
	if err := l.wait(ctx, &l.buffers, p.VApp, w); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.free) - 1; i >= 0; i-- {
		if b := l.free[i]; int64(cap(b)) >= n && int64(cap(b)) <= 2*n {
			l.drop(i)
			return b[:n], nil
		}
	}
	for len(l.free) > 0 && l.memory.used+l.kept > l.memory.limit {
		l.drop(0)
	}
	return make([]byte, n), nil
}

func (l *Limits) drop(i int) {
	l.kept -= int64(cap(l.free[i]))
	last := len(l.free) - 1
	l.free[i], l.free[last] = l.free[last], nil
	l.free = l.free[:last]
}

// Return gives a buffer back that Buffer gave out for the place, in the length
// that it had then.
func (l *Limits) Return(p Place, b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := waiter{amount: int64(len(b))}
	w.need(&l.memory)
	l.buffers.giveBack(p.VApp, w)
	if l.memory.used+l.kept+int64(cap(b)) <= min(l.memory.limit, freeMost) {
		l.free = append(l.free, b[:0])
		l.kept += int64(cap(b))
	}
	l.dispatch(&l.buffers)
}

// freeMost is how much memory is kept for the next buffers where there is no
// limit.
const freeMost = 256 << 20

// Overloaded says that the place has more than it can serve: its host, or its
// vCenter where it names no host. Half of what is under way there may be from
// now on, and nothing is granted for the time that is returned.
func (l *Limits) Overloaded(p Place) (pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.scope(p)
	if p.Host == "" {
		s = l.scope(Place{VCenter: p.VCenter})
	}
	now := time.Now()
	if now.Before(s.disks.notBefore) {
		return s.disks.notBefore.Sub(now) // the same overload, told by another transfer
	}
	s.pause = min(max(2*s.pause, firstPause), lastPause)
	s.changed = now
	for _, g := range []*gauge{&s.disks, &s.bytes} {
		g.limit = max(g.least, min(g.limit, g.used)/2)
		g.notBefore = now.Add(s.pause)
	}
	return s.pause
}

// Served says that the place has answered well: in time it gets more again.
func (l *Limits) Served(p Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	host, vcenter := l.around(p)
	moved := false
	for _, s := range []*scope{host, vcenter} {
		if s == nil || s.pause == 0 || now.Sub(s.changed) < recovery {
			continue
		}
		s.changed, moved = now, true
		whole := true
		for _, g := range []*gauge{&s.disks, &s.bytes} {
			g.limit = min(g.most, g.limit+max(g.least, min(g.most/8, g.limit)))
			whole = whole && g.limit == g.most
		}
		if whole {
			s.pause = 0
		}
	}
	if moved {
		l.dispatch(&l.disks)
		l.dispatch(&l.flights)
	}
}

// Allowed is how many disks and bytes in flight a host may have at present, or
// a vCenter where the place names no host.
func (l *Limits) Allowed(p Place) Bound {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.scope(p)
	return Bound{Disks: int(s.disks.limit), InFlight: s.bytes.limit}
}

// free reports whether amount can be had at a time, or else from when on; a
// zero time says that something has to be given back first. What is more than
// the limit goes alone.
func (g *gauge) free(amount int64, now time.Time) (bool, time.Time) {
	if g.rate > 0 {
		at := g.notBefore.Add(-burst)
		return !now.Before(at), at
	}
	if now.Before(g.notBefore) {
		return false, g.notBefore
	}
	return g.used == 0 || g.used+amount <= g.limit, time.Time{}
}

func (g *gauge) take(amount int64, now time.Time) {
	if g.rate > 0 {
		from := g.notBefore
		if from.Before(now) {
			from = now
		}
		g.notBefore = from.Add(time.Duration(float64(amount) / float64(g.rate) * float64(time.Second)))
		return
	}
	g.used += amount
}

func (g *gauge) giveBack(amount int64) {
	if g.rate == 0 {
		g.used -= amount
	}
}

// earlier returns the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// rank orders who waits: by what the vApp holds, what it has had, and when it
// asked.
func rank(a, b *waiter) int {
	return cmp.Or(cmp.Compare(a.of.held, b.of.held), cmp.Compare(a.of.had, b.of.had), cmp.Compare(a.turn, b.turn))
}
