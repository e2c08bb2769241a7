package repository

import (
	"container/list"
	"context"
	"iter"
	"sync"
)

// An lru keeps the most recently used of its values. It is not safe for
// concurrent use.
type lru[V any] struct {
	limit int
	order *list.List // of *lruItem[V], most recently used first
	items map[int64]*list.Element
}

type lruItem[V any] struct {
	key   int64
	value V
}

func newLRU[V any](limit int) *lru[V] {
	return &lru[V]{limit: limit, order: list.New(), items: map[int64]*list.Element{}}
}

func (l *lru[V]) get(key int64) (v V, ok bool) {
	e, ok := l.items[key]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruItem[V]).value, true
}

// oldest returns the value that has to go before another one is put, if any.
func (l *lru[V]) oldest() (key int64, v V, full bool) {
	if l.order.Len() < l.limit {
		return 0, v, false
	}
	i := l.order.Back().Value.(*lruItem[V])
	return i.key, i.value, true
}

func (l *lru[V]) put(key int64, v V) {
	l.items[key] = l.order.PushFront(&lruItem[V]{key, v})
}

func (l *lru[V]) remove(key int64) {
	if e, ok := l.items[key]; ok {
		l.order.Remove(e)
		delete(l.items, key)
	}
}

// all goes through the values from the least recently used one on.
func (l *lru[V]) all() iter.Seq2[int64, V] {
	return func(yield func(int64, V) bool) {
		for e := l.order.Back(); e != nil; e = e.Prev() {
			if i := e.Value.(*lruItem[V]); !yield(i.key, i.value) {
				return
			}
		}
	}
}

// A loader is a cache whose values are loaded on demand, each by one caller
// while others that want it wait. It is safe for concurrent use, and no lock
// is held while loading.
type loader[V any] struct {
	mu   sync.Mutex
	kept *lru[*loading[V]]
}

type loading[V any] struct {
	done  chan struct{}
	value V
	err   error
}

func newLoader[V any](limit int) *loader[V] {
	return &loader[V]{kept: newLRU[*loading[V]](limit)}
}

// get returns the value of a key. An error is not kept, and one caller's
// cancellation is no other's.
func (c *loader[V]) get(ctx context.Context, key int64, load func() (V, error)) (V, error) {
	for {
		l, mine := c.enter(key)
		if mine {
			l.value, l.err = load()
			if l.err != nil {
				c.forget(key, l)
			}
			close(l.done)
			return l.value, l.err
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			var none V
			return none, context.Cause(ctx)
		}
		if l.err == nil {
			return l.value, nil
		}
	}
}

// enter returns the load of a key and whether it is the caller's to do.
func (c *loader[V]) enter(key int64) (l *loading[V], mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok := c.kept.get(key); ok {
		return l, false
	}
	if old, _, full := c.kept.oldest(); full {
		c.kept.remove(old)
	}
	l = &loading[V]{done: make(chan struct{})}
	c.kept.put(key, l)
	return l, true
}

func (c *loader[V]) forget(key int64, l *loading[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, ok := c.kept.get(key); ok && now == l {
		c.kept.remove(key)
	}
}
