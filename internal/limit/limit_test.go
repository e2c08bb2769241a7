package limit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// watch counts what is held and the most that ever was.
type watch struct{ now, most atomic.Int64 }

func (w *watch) add(n int64) {
	now := w.now.Add(n)
	for {
		most := w.most.Load()
		if now <= most || w.most.CompareAndSwap(most, now) {
			return
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestNoLimitIsEverExceededAndAllComeThrough lets vApps of all sizes work at
// hosts of two vCenters, some of which give up.
func TestNoLimitIsEverExceededAndAllComeThrough(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				c := Config{
					Disks: 1 + rng.IntN(12), PerHost: Bound{1 + rng.IntN(5), 1 << (20 + rng.IntN(5))},
					PerVCenter: Bound{1 + rng.IntN(9), 1 << (20 + rng.IntN(6))},
					Bandwidth:  []int64{0, 10 << 20, 300 << 20}[rng.IntN(3)], Memory: 8 << 20, Workers: 2,
				}
				l := New(c)
				var process, memory, workers watch
				hosts, vcenters := map[string]*watch{}, map[string]*watch{}
				bytes := map[string]*watch{}
				for v := range 2 {
					vcenters[fmt.Sprint("vc", v)] = &watch{}
					for h := range 3 {
						hosts[fmt.Sprint("vc", v, "h", h)], bytes[fmt.Sprint("vc", v, "h", h)] = &watch{}, &watch{}
					}
				}
				disk := func(ctx context.Context, p Place, rng *rand.Rand) error {
					release, err := l.Disk(ctx, p)
					if err != nil {
						return err
					}
					defer release()
					for _, w := range []*watch{&process, hosts[p.VCenter+p.Host], vcenters[p.VCenter]} {
						w.add(1)
						defer w.add(-1)
					}
					for range 1 + rng.IntN(4) {
						n := int64(1 + rng.IntN(4<<20))
						b, err := l.Buffer(ctx, p, n)
						if err != nil {
							return err
						}
						memory.add(n)
						if err = l.Flight(ctx, p, n); err == nil {
							bytes[p.VCenter+p.Host].add(n)
							time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
							bytes[p.VCenter+p.Host].add(-n)
							l.Landed(p, n)
						}
						if err == nil {
							if err = l.Work(ctx, p); err == nil {
								workers.add(1)
								time.Sleep(time.Millisecond)
								workers.add(-1)
								l.Worked(p)
							}
						}
						memory.add(-n)
						l.Return(p, b)
						if err != nil {
							return err
						}
						switch rng.IntN(12) {
						case 0:
							l.Overloaded(p)
						case 1, 2, 3:
							l.Served(p)
						}
					}
					return nil
				}
				var group sync.WaitGroup
				for i := range 60 {
					p := Place{Host: fmt.Sprint("h", rng.IntN(3)), VCenter: fmt.Sprint("vc", rng.IntN(2)), VApp: fmt.Sprint(i * i / 600)}
					own := rand.New(rand.NewPCG(seed, uint64(i)))
					ctx, cancel := t.Context(), context.CancelFunc(func() {})
					if impatient := own.IntN(5) == 0; impatient {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(own.IntN(300))*time.Millisecond)
					}
					group.Go(func() {
						defer cancel()
						if err := disk(ctx, p, own); err != nil && ctx.Err() == nil {
							t.Error(err)
						}
					})
				}
				group.Wait()
				check := func(what string, w *watch, limit int64) {
					if w.most.Load() > limit || w.now.Load() != 0 {
						t.Errorf("%s: %d at most, %d left; the limit is %d", what, w.most.Load(), w.now.Load(), limit)
					}
				}
				check("process", &process, int64(c.Disks))
				check("memory", &memory, c.Memory)
				check("workers", &workers, 2)
				for name := range hosts {
					check(name, hosts[name], int64(c.PerHost.Disks))
					check(name, bytes[name], max(4<<20, c.PerHost.InFlight)) // a larger request goes alone
				}
				for name, w := range vcenters {
					check(name, w, int64(c.PerVCenter.Disks))
				}
				left(t, l)
			})
		})
	}
}

// left makes sure that nothing is held or waited for.
func left(t *testing.T, l *Limits) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	used := l.process.used + l.memory.used + int64(len(l.disks.waiting)+len(l.flights.waiting)+len(l.buffers.waiting))
	for _, s := range l.scopes {
		used += s.disks.used + s.bytes.used
	}
	for _, q := range []*queue{&l.disks, &l.flights, &l.buffers, &l.workers} {
		for _, tenant := range q.tenants {
			used += tenant.held + int64(tenant.waiting)
		}
	}
	if used != 0 {
		t.Errorf("something is left: %+v", l)
	}
}

func TestAVAppWithManyDisksStarvesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Disks: 4, PerHost: Bound{Disks: 4}})
		large, small := Place{"h", "vc", "large"}, Place{"h", "vc", "small"}
		var group sync.WaitGroup
		var done atomic.Int64
		for range 40 {
			group.Go(func() {
				release, err := l.Disk(t.Context(), large)
				must(t, err)
				time.Sleep(time.Minute)
				release()
				done.Add(1)
			})
		}
		time.Sleep(time.Second)
		release, err := l.Disk(t.Context(), small)
		must(t, err)
		if n := done.Load(); n > 4 {
			t.Errorf("%d disks of the large vApp went first", n)
		}
		release()
		group.Wait()
		left(t, l)
	})
}

func TestTheLineIsSharedBetweenVAppsNotReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Bandwidth: 100 << 20})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		got := map[string]*atomic.Int64{"many": {}, "one": {}}
		var group sync.WaitGroup
		for i := range 17 {
			p := Place{"h", "vc", "many"}
			if i == 16 {
				p.VApp = "one"
			}
			group.Go(func() {
				for l.Flight(ctx, p, 1<<20) == nil {
					got[p.VApp].Add(1)
					l.Landed(p, 1<<20)
				}
			})
		}
		group.Wait()
		many, one := got["many"].Load(), got["one"].Load()
		if one < 450 || many < 450 || many+one > 1011+17 {
			t.Errorf("the vApp with 16 readers had %d MiB, the one with a single reader %d, of 1000", many, one)
		}
		left(t, l)
	})
}

func TestBandwidthIsSmoothAndItsBurstsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, piece = 10 << 20, 256 << 10
		l := New(Config{Bandwidth: rate})
		time.Sleep(time.Hour) // what was not used is not saved up
		var at []time.Duration
		began := time.Now()
		for range 400 {
			must(t, l.Bytes(t.Context(), piece))
			at = append(at, time.Since(began))
		}
		for i := range at {
			for j := i; j < len(at); j++ {
				sent, span := float64((j-i+1)*piece), (at[j] - at[i]).Seconds()
				if sent > rate*(span+burst.Seconds())+2*piece {
					t.Fatalf("%.0f bytes within %.3f s", sent, span)
				}
			}
		}
		if took := at[len(at)-1]; took > 10*time.Second || took < 9*time.Second {
			t.Errorf("100 MiB took %s at 10 MiB per second", took)
		}
	})
}

func TestAnOverloadHalvesAndTheRestComesBackSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{PerHost: Bound{Disks: 8, InFlight: 32 << 20}})
		p := Place{"h", "vc", "a"}
		var releases []func()
		for range 8 {
			release, err := l.Disk(t.Context(), p)
			must(t, err)
			releases = append(releases, release)
		}
		must(t, l.Flight(t.Context(), p, 16<<20))
		pause := l.Overloaded(p)
		if got := l.Allowed(p); got != (Bound{4, 8 << 20}) || pause != firstPause {
			t.Fatalf("%+v after a pause of %s", got, pause)
		}
		l.Overloaded(p) // a second disk says the same
		if got := l.Allowed(p); got.Disks != 4 {
			t.Fatalf("one overload halves twice: %+v", got)
		}
		l.Landed(p, 16<<20)
		for _, release := range releases {
			release()
			release() // does no harm
		}
		began := time.Now()
		release, err := l.Disk(t.Context(), p)
		must(t, err)
		if waited := time.Since(began); waited != firstPause {
			t.Errorf("a disk is opened %s after an overload", waited)
		}
		other, err := l.Disk(t.Context(), Place{"another", "vc", "a"})
		must(t, err)
		other()
		release()
		var steps []int
		for range 8 {
			time.Sleep(recovery)
			l.Served(p)
			steps = append(steps, l.Allowed(p).Disks)
		}
		if fmt.Sprint(steps) != "[5 6 7 8 8 8 8 8]" {
			t.Errorf("recovers as %v", steps)
		}
		if got := l.Allowed(p); got != (Bound{8, 32 << 20}) {
			t.Errorf("at last %+v", got)
		}
		left(t, l)
	})
}

func TestAnOverloadOfOneDiskLeavesOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{})
		p := Place{"h", "vc", "a"}
		var pauses []time.Duration
		for range 8 {
			release, err := l.Disk(t.Context(), p)
			must(t, err)
			pauses = append(pauses, l.Overloaded(p))
			if got := l.Allowed(p); got != (Bound{1, leastFlight}) {
				t.Fatalf("%+v", got)
			}
			release()
			time.Sleep(2 * time.Minute)
		}
		if pauses[1] != 2*firstPause || pauses[7] != lastPause {
			t.Errorf("pauses: %v", pauses)
		}
		must(t, l.Flight(t.Context(), p, 4<<20)) // more than there is goes alone
		l.Landed(p, 4<<20)
		l.Overloaded(Place{VCenter: "vc"})
		if got := l.Allowed(Place{VCenter: "vc"}); got.Disks != 1 {
			t.Errorf("the vCenter: %+v", got)
		}
		left(t, l)
	})
}

func TestALargeRequestIsNotPassedOverForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Memory: 8 << 20})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var group sync.WaitGroup
		for i := range 8 {
			p := Place{VApp: fmt.Sprint(i)}
			group.Go(func() {
				for {
					b, err := l.Buffer(ctx, p, 1<<20)
					if err != nil {
						return
					}
					time.Sleep(time.Duration(10+i) * time.Millisecond)
					l.Return(p, b)
				}
			})
		}
		time.Sleep(time.Second)
		b, err := l.Buffer(t.Context(), Place{VApp: "large"}, 8<<20)
		must(t, err)
		l.Return(Place{VApp: "large"}, b)
		cancel()
		group.Wait()
		left(t, l)
	})
}

func TestMemoryIsUsedAgainAndNeverMoreThanTheLimit(t *testing.T) {
	l := New(Config{Memory: 4 << 20})
	p := Place{VApp: "a"}
	b, err := l.Buffer(t.Context(), p, 4<<20)
	must(t, err)
	first := &b[0]
	l.Return(p, b)
	b, err = l.Buffer(t.Context(), p, 3<<20)
	must(t, err)
	if &b[0] != first {
		t.Error("a buffer that fits is not used again")
	}
	l.Return(p, b)
	b, err = l.Buffer(t.Context(), p, 1<<20) // the large one has to go
	must(t, err)
	if cap(b) != 1<<20 || l.kept != 0 {
		t.Errorf("%d bytes of memory, %d kept", cap(b), l.kept)
	}
	l.Return(p, b)
	if n := testing.AllocsPerRun(100, func() {
		b, _ := l.Buffer(t.Context(), p, 1<<20)
		_ = l.Flight(t.Context(), p, 1<<20)
		l.Landed(p, 1<<20)
		l.Return(p, b)
	}); n > 0 {
		t.Errorf("%v allocations for a buffer that is there", n)
	}
}

func TestWhoGivesUpTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Disks: 1, Bandwidth: 1 << 20})
		release, err := l.Disk(t.Context(), Place{VApp: "a"})
		must(t, err)
		must(t, l.Bytes(t.Context(), 10<<20))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var group sync.WaitGroup
		for _, wait := range []func() error{
			func() error { _, err := l.Disk(ctx, Place{VApp: "b"}); return err },
			func() error { return l.Bytes(ctx, 1) },
			func() error { return l.Flight(ctx, Place{VApp: "b"}, 1) },
		} {
			group.Go(func() {
				if err := wait(); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			})
		}
		group.Wait()
		release()
		if _, err := l.Disk(ctx, Place{VApp: "b"}); err == nil {
			t.Error("a disk for a context that has ended")
		}
		left(t, l)
	})
}
