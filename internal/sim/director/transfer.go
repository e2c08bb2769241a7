package director

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The transfer service takes and hands out files in any number of requests. How
// clients use it is in the API programming guide, "Upload an OVF package" and
// "Download a vApp or vApp template as OVF". URLs are good for as long as there
// is progress, and for an hour without any by default.

// descriptorName is what the server calls the descriptor of every upload.
const (
	descriptorName = "descriptor.ovf"
	manifestName   = "manifest.mf"
	maxDescriptor  = 16 << 20
)

// newTransfer begins a transfer.
func (c *call) newTransfer(upload bool, names ...string) *transfer {
	t := &transfer{id: newID(), upload: upload, owner: c.login.user.id, started: time.Now(), touched: time.Now(), deadline: c.s.cfg.TransferTimeout}
	for _, name := range names {
		t.files = append(t.files, &transferFile{name: name, size: -1})
	}
	c.s.transfers[t.id] = t
	return t
}

func (t *transfer) file(name string) *transferFile {
	for _, f := range t.files {
		if f.name == name {
			return f
		}
	}
	return nil
}

// whole tells whether all files have arrived.
func (t *transfer) whole() bool {
	return !slices.ContainsFunc(t.files, func(f *transferFile) bool { return !f.done })
}

// An arrival wakes the task that waits for an upload.
type arrival chan struct{}

func (s *Server) arrivalOf(t *transfer) arrival {
	a := s.arrivals[t.id]
	if a == nil {
		a = make(arrival, 1)
		s.arrivals[t.id] = a
	}
	return a
}

// arrived wakes whoever waits. The mutex is held.
func (s *Server) arrived(t *transfer) {
	select {
	case s.arrivalOf(t) <- struct{}{}:
	default:
	}
}

// await returns when a transfer is in the state that ready tells of, or when it
// has been idle for too long. Ready is called with the mutex held.
func (s *Server) await(ctx context.Context, t *transfer, ready func() (bool, error)) error {
	s.mu.Lock()
	wake := s.arrivalOf(t)
	s.mu.Unlock()
	for {
		s.mu.Lock()
		done, err := ready()
		left := time.Until(t.touched.Add(t.deadline))
		s.mu.Unlock()
		if done || err != nil {
			return err
		}
		if left <= 0 {
			return refuse(http.StatusBadRequest, "TRANSFER_SESSION_TIMEOUT", "The transfer was idle for more than %s.", t.deadline)
		}
		select {
		case <-wake:
		case <-time.After(left):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serveTransfer is /transfer/ID/NAME.
func (s *Server) serveTransfer(w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, r: r, id: newID()}
	w.Header().Set("X-VMWARE-VCLOUD-REQUEST-ID", c.id)
	err := c.transferFile(w)
	var sent *alreadySent
	if err == nil || errors.As(err, &sent) {
		return
	}
	a := c.failed(err)
	var e *apiError
	if errors.As(err, &e) && e.status == http.StatusRequestedRangeNotSatisfiable {
		if _, got, found := strings.Cut(e.message, "\x00"); found {
			e.message, _, _ = strings.Cut(e.message, "\x00")
			a = c.failed(e)
			if got != "0" {
				n, _ := strconv.ParseInt(got, 10, 64)
				w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", n-1))
			}
		}
	}
	typ, body := c.render(a)
	w.Header().Set("Content-Type", typ)
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // a client that went away has no use for an error
}

// alreadySent is an error after which nothing can be answered any more.
type alreadySent struct{ error }

func (c *call) transferFile(w http.ResponseWriter) error {
	s := c.s
	s.mu.Lock()
	err := c.authenticate()
	t := s.transfers[uuidIn(c.path("id"))]
	var f *transferFile
	if t != nil {
		f = t.file(c.path("name"))
	}
	if err == nil && (f == nil || time.Since(t.touched) > t.deadline) {
		err = notFound("The requested resource %s was not found.", c.r.URL.Path)
	}
	if err == nil && !c.provider() && t.owner != c.login.user.id && !c.orgAdmin(s.orgOfUser(t.owner)) {
		err = noAccess("transfer", t.id)
	}
	if err == nil {
		t.touched = time.Now()
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	switch {
	case c.r.Method == http.MethodPut && t.upload:
		return c.receive(t, f)
	case (c.r.Method == http.MethodGet || c.r.Method == http.MethodHead) && !t.upload:
		if strings.HasSuffix(f.name, ".ova") {
			return c.sendOVA(w, t, f)
		}
		return c.handOut(w, f)
	}
	return refuse(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "%s is not allowed here.", c.r.Method)
}

func (s *Server) orgOfUser(id string) string {
	if u := s.users[id]; u != nil {
		return u.org
	}
	return ""
}

var contentRange = regexp.MustCompile(`^bytes (\d+)-(\d+)/(\d+|\*)$`)

// A part is what one request brings: bytes from from on, n of them (-1 when it
// does not say), of a file of total bytes (-1 when it does not say).
type part struct{ from, n, total int64 }

func (c *call) part() (part, error) {
	p := part{0, c.r.ContentLength, -1}
	h := c.r.Header.Get("Content-Range")
	if h == "" {
		p.total = p.n
		return p, nil
	}
	m := contentRange.FindStringSubmatch(h)
	if m == nil {
		return p, badRequest("The header Content-Range: %s is not understood.", h)
	}
	first, err1 := strconv.ParseInt(m[1], 10, 64)
	last, err2 := strconv.ParseInt(m[2], 10, 64)
	if err1 != nil || err2 != nil || last < first {
		return p, badRequest("The header Content-Range: %s is not understood.", h)
	}
	if m[3] != "*" {
		total, err := strconv.ParseInt(m[3], 10, 64)
		if err != nil || last >= total {
			return p, badRequest("The header Content-Range: %s is not understood.", h)
		}
		p.total = total
	}
	if p.n >= 0 && p.n != last-first+1 {
		return p, badRequest("The Content-Length is %d, the Content-Range has %d bytes.", p.n, last-first+1)
	}
	p.from, p.n = first, last-first+1
	return p, nil
}

// claimPart checks a part against what has come, and keeps the file for it.
func (c *call) claimPart(t *transfer, f *transferFile, p part) error {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.receiving[f]:
		return refuse(http.StatusConflict, "BUSY_ENTITY", "The file %s is being uploaded by another request.", f.name)
	case c.s.transfers[t.id] == nil:
		return notFound("The transfer %s is over.", t.id)
	case f.done && f.name == descriptorName:
		return badRequest("The file %s has been uploaded already.", f.name)
	case f.size >= 0 && p.total >= 0 && c.r.Header.Get("Content-Range") != "" && p.total != f.size:
		return badRequest("The file %s has %d bytes, not %d.", f.name, f.size, p.total)
	case f.size >= 0 && p.n >= 0 && p.from+p.n > f.size:
		return badRequest("The file %s has %d bytes; the request goes beyond them.", f.name, f.size)
	case c.r.Header.Get("Content-Range") != "" && p.from != f.got:
		// Pieces come one after the other: what has come is in Range.
		return refuse(http.StatusRequestedRangeNotSatisfiable, "BAD_REQUEST", "The piece of %s at %d does not follow the %d bytes that have arrived.\x00%d",
			f.name, p.from, f.got, f.got)
	}
	if f.path == "" {
		dir, err := s.spool.folder(t)
		if err != nil {
			return err
		}
		f.path = filepath.Join(dir, strconv.Itoa(slices.Index(t.files, f)))
	}
	s.receiving[f] = true
	return nil
}

// receive stores one part of a file.
func (c *call) receive(t *transfer, f *transferFile) error {
	p, err := c.part()
	if err != nil {
		return err
	}
	if err := c.claimPart(t, f, p); err != nil {
		return err
	}
	n, err := c.store(t, f, p)
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.receiving, f)
	f.got, t.touched = p.from+n, time.Now()
	if err != nil {
		return err
	}
	if f.size < 0 && p.total >= 0 {
		f.size = p.total
	}
	if f.size < 0 && c.r.Header.Get("Content-Range") == "" {
		f.size = f.got // a body without a length, to its end
	}
	f.done = f.size >= 0 && f.got == f.size
	s.arrived(t)
	return nil
}

// store writes the bytes of a part and returns how many came.
func (c *call) store(t *transfer, f *transferFile, p part) (int64, error) {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, notStored(f.name, 0, err)
	}
	if _, err = file.Seek(p.from, io.SeekStart); err == nil {
		err = file.Truncate(p.from)
	}
	var n int64
	if err == nil {
		limit := p.n
		if limit < 0 {
			limit = 1 << 62
		}
		if f.name == descriptorName {
			limit = min(limit, maxDescriptor)
		}
		in := &progressReader{r: c.r.Body, seen: func(n int64) {
			c.s.mu.Lock()
			f.got, t.touched = p.from+n, time.Now()
			c.s.mu.Unlock()
		}}
		n, err = io.Copy(file, io.LimitReader(in, limit))
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return n, notStored(f.name, p.from+n, err)
	}
	if p.n >= 0 && n < p.n {
		return n, badRequest("The upload of %s broke off after %d bytes.", f.name, p.from+n)
	}
	return n, nil
}

// notStored tells why an upload ended after n bytes: for want of a place for
// them, which is the server's trouble, or because the client's stream ended.
func notStored(name string, n int64, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return refuse(http.StatusInsufficientStorage, "INSUFFICIENT_STORAGE",
			"The upload of %s cannot be stored after %d bytes: no space is left in the transfer storage.", name, n)
	}
	var file *fs.PathError
	if errors.As(err, &file) {
		return refuse(http.StatusInternalServerError, "INTERNAL_SERVER_ERROR",
			"The upload of %s cannot be stored after %d bytes: %v.", name, n, file.Err)
	}
	return badRequest("The upload of %s broke off after %d bytes.", name, n)
}

// A progressReader tells from time to time how much was read.
type progressReader struct {
	r       io.Reader
	n, told int64
	seen    func(int64)
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	if p.n-p.told >= 1<<20 {
		p.told = p.n
		p.seen(p.n)
	}
	return n, err
}

// emptySuffix is the Range of a file's last 0 bytes, which none satisfies.
var emptySuffix = regexp.MustCompile(`^bytes=\s*-0+\s*$`)

// handOut answers with a file or the range of it that was asked for.
func (c *call) handOut(w http.ResponseWriter, f *transferFile) error {
	file, err := os.Open(f.path)
	if err != nil {
		return notFound("The requested resource %s was not found.", c.r.URL.Path)
	}
	defer file.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	if strings.HasSuffix(f.name, ".ovf") {
		w.Header().Set("Content-Type", "text/xml")
	}
	if emptySuffix.MatchString(c.r.Header.Get("Range")) {
		// ServeContent would answer with nothing of it (RFC 9110, 14.1.2).
		if size, err := file.Seek(0, io.SeekEnd); err == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		}
		return refuse(http.StatusRequestedRangeNotSatisfiable, "BAD_REQUEST", "The range %q has no bytes.", c.r.Header.Get("Range"))
	}
	http.ServeContent(w, c.r, "", time.Time{}, file)
	return nil
}

// transfersAfterCrash ends all transfers: the spool does not outlive the process.
func (s *Server) transfersAfterCrash() {
	for _, t := range s.templates {
		if t.content.status == stateUnresolved {
			t.content.status = stateFailed
		}
		t.upload, t.content.download = nil, nil
	}
	for _, m := range s.media {
		if m.status == stateUnresolved {
			m.status = stateFailed
		}
		m.upload, m.download = nil, nil
	}
	clear(s.transfers)
}
