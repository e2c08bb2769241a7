package fault

import (
	"context"
	"crypto/tls"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Serve answers an HTTP call as the rules have it, and remembers it. The
// answer is serve's, unless a rule refuses the call: then refuse writes an
// error, in the form of the service. Serve's r carries the hit (see From).
//
// Serve may fill in what it learns about the call, such as its user.
func (s *Set) Serve(w http.ResponseWriter, r *http.Request, c *Call, refuse func(http.ResponseWriter, *Hit), serve http.HandlerFunc) {
	if s == nil {
		serve(w, r)
		return
	}
	if s.owns(r) {
		serve(w, r.WithContext(context.WithValue(r.Context(), ownKey{}, true)))
		return
	}
	c.Time = time.Now()
	h := s.Match(*c)
	out := &writer{ResponseWriter: w, left: math.MaxInt64}
	defer func() {
		c.Status, c.Bytes, c.Took = out.status, out.sent, Duration(time.Since(c.Time))
		if h != nil {
			c.Rule = h.ID
		}
		s.Record(*c)
	}()
	if h == nil {
		serve(out, r)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), key{}, h))
	if !h.After && h.Wait(r.Context()) != nil {
		out.abort()
	}
	if h.Reset != nil {
		out.left = *h.Reset
	}
	out.rate = h.Rate
	var body *upload
	if uploads(r, c) && (h.Reset != nil || h.Rate > 0) {
		body = &upload{ReadCloser: r.Body, w: out}
		r.Body = body
	}
	switch {
	case h.After && (h.Refuses() || h.Delay > 0 || h.Hang):
		s.late(out, r, h, refuse, serve)
	case h.Refuses():
		retryAfter(out, h)
		refuse(out, h)
	default:
		if out.left == 0 && !h.After {
			out.abort() // the call never arrives
		}
		serve(out, r)
	}
	if body != nil && body.cut.Load() {
		panic(http.ErrAbortHandler)
	}
}

// uploads tells whether the bytes of a call are those that it sends.
func uploads(r *http.Request, c *Call) bool {
	if r.Method != http.MethodPut && r.Method != http.MethodPost {
		return false
	}
	return c.Service == NFC || c.Service == Folder || c.Service == VCD && strings.HasPrefix(r.URL.Path, "/transfer/")
}

// An upload counts, slows down and cuts the body of a request. What is read of
// it is taken from what its writer may answer.
type upload struct {
	io.ReadCloser
	w   *writer
	cut atomic.Bool
}

func (u *upload) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if u.w.left == 0 {
		// Nothing panics here: a handler may read where nobody recovers.
		u.cut.Store(true)
		u.w.cut()
		return 0, io.ErrUnexpectedEOF
	}
	p = p[:min(int64(len(p)), u.w.left)]
	if u.w.rate > 0 {
		p = p[:min(int64(len(p)), max(1, u.w.rate/20))]
	}
	n, err := u.ReadCloser.Read(p)
	u.w.left -= int64(n)
	if u.w.rate > 0 {
		time.Sleep(time.Second * time.Duration(n) / time.Duration(u.w.rate))
	}
	return n, err
}

// late does the work and then spoils the answer.
func (s *Set) late(out *writer, r *http.Request, h *Hit, refuse func(http.ResponseWriter, *Hit), serve http.HandlerFunc) {
	kept := &keeper{header: http.Header{}, status: http.StatusOK}
	serve(kept, r)
	if h.Wait(r.Context()) != nil {
		out.abort()
	}
	if h.Refuses() {
		retryAfter(out, h)
		refuse(out, h)
		return
	}
	for k, v := range kept.header {
		out.Header()[k] = v
	}
	out.WriteHeader(kept.status)
	_, _ = out.Write(kept.body)
}

func retryAfter(w http.ResponseWriter, h *Hit) {
	if h.RetryAfter > 0 {
		seconds := int(math.Ceil(time.Duration(h.RetryAfter).Seconds()))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
}

type key struct{}

// From is the hit of the call that a request makes; nil without one.
func From(r *http.Request) *Hit {
	h, _ := r.Context().Value(key{}).(*Hit)
	return h
}

// A writer counts, slows down and cuts an answer.
type writer struct {
	http.ResponseWriter
	status     int
	sent, left int64
	rate       int64 // bytes in a second; 0: any
}

func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	written := 0
	for len(p) > 0 {
		if w.left == 0 {
			w.abort()
		}
		part := p[:min(int64(len(p)), w.left)]
		if w.rate > 0 {
			// A twentieth of a second at a time.
			part = part[:min(int64(len(part)), max(1, w.rate/20))]
			time.Sleep(time.Second * time.Duration(len(part)) / time.Duration(w.rate))
		}
		n, err := w.ResponseWriter.Write(part)
		written, w.sent, w.left, p = written+n, w.sent+int64(n), w.left-int64(n), p[n:]
		if err != nil {
			return written, err
		}
		if w.rate > 0 {
			w.Flush()
		}
	}
	return written, nil
}

// Flush sends what is buffered.
func (w *writer) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// abort resets the connection, as a firewall or a crash does. It does not
// return.
func (w *writer) abort() {
	if w.sent > 0 {
		w.Flush()
	}
	w.cut()
	panic(http.ErrAbortHandler)
}

// cut resets the connection and returns.
func (w *writer) cut() {
	if conn, _, err := http.NewResponseController(w.ResponseWriter).Hijack(); err == nil {
		if t, is := conn.(*tls.Conn); is {
			conn = t.NetConn()
		}
		if t, is := conn.(*net.TCPConn); is {
			_ = t.SetLinger(0) // RST rather than FIN
		}
		_ = conn.Close()
	}
}

// A keeper holds an answer back.
type keeper struct {
	header http.Header
	status int
	body   []byte
}

func (k *keeper) Header() http.Header         { return k.header }
func (k *keeper) WriteHeader(status int)      { k.status = status }
func (k *keeper) Write(p []byte) (int, error) { k.body = append(k.body, p...); return len(p), nil }
