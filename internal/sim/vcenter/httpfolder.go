package vcenter

import (
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// serveFolder is the datastore browser's /folder/PATH?dcPath=&dsName=.
//
// A file that a VM which is not powered off writes to is locked: 500, as
// from a real host. PUT replaces whole files, never parts.
func (s *Server) serveFolder(w http.ResponseWriter, r *http.Request) {
	user, ok := s.authenticated(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="VMware HTTP server"`)
		http.Error(w, "authentication required", http.StatusUnauthorized)
		return
	}
	s.folderRequest(w, r, user)
}

// folderRequest serves /folder to a user that is known.
func (s *Server) folderRequest(w http.ResponseWriter, r *http.Request, user string) {
	if s.faults.folderRefused() {
		http.Error(w, "told to refuse", http.StatusForbidden)
		return
	}
	p, status := s.folderFile(r)
	if status != 0 {
		http.Error(w, http.StatusText(status), status)
		return
	}
	local, err := s.store.local(p)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if err := s.mayUseFolder(r.Method, user, p, local); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.folderGet(w, r, p, local)
	case http.MethodPut, http.MethodPost:
		s.folderPut(w, r, p, local)
	case http.MethodDelete:
		s.folderDelete(w, p, local)
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT, POST, DELETE")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

// authenticated accepts the cookie of a session that has not ended, or a
// user's password.
func (s *Server) authenticated(r *http.Request) (user string, ok bool) {
	if user, password, ok := r.BasicAuth(); ok {
		return user, s.validUser(user, password)
	}
	c, err := r.Cookie(soap.SessionCookieName)
	if err != nil {
		return "", false
	}
	ctx := s.newContext()
	m, ok := ctx.Session.Get(s.model.Map().SessionManager().Reference()).(*simulator.SessionManager)
	if !ok {
		return "", false
	}
	for _, session := range m.SessionList {
		if session.Key == strings.Trim(c.Value, `"`) {
			return session.UserName, true
		}
	}
	return "", false
}

func (s *Server) folderFile(r *http.Request) (dsPath, int) {
	q := r.URL.Query()
	if dc := strings.Trim(q.Get("dcPath"), "/"); dc != "" && dc != s.cfg.Datacenter {
		return dsPath{}, http.StatusNotFound
	}
	name := q.Get("dsName")
	if _, ok := s.store.dirs[name]; !ok {
		return dsPath{}, http.StatusNotFound
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/folder"), "/")
	for _, part := range strings.Split(rest, "/") {
		if part == ".." {
			return dsPath{}, http.StatusBadRequest
		}
	}
	return dsPath{name, strings.TrimPrefix(path.Clean("/"+rest), "/")}, 0
}

// extentLocks tells who uses the extent file p.
func (s *Server) extentLocks(p dsPath) (exclusive, shared bool) {
	l := s.store.forFile(p)
	if l == nil || l.file == p { // a descriptor is only read when a VM starts
		return false, false
	}
	return s.lockedBy(l, nil)
}

type countingWriter struct {
	http.ResponseWriter
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n += int64(n)
	return n, err
}

func (s *Server) folderGet(w http.ResponseWriter, r *http.Request, p dsPath, local string) {
	f, err := os.Open(local)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		http.Error(w, "cannot read", http.StatusInternalServerError)
		return
	}
	if fi.IsDir() {
		if p.path == "" && s.store.makeFolders(p.datastore) != nil {
			http.Error(w, "cannot read", http.StatusInternalServerError)
			return
		}
		listFolder(w, f)
		return
	}
	if err := s.accessible(p.datastore); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if exclusive, _ := s.extentLocks(p); exclusive {
		http.Error(w, fmt.Sprintf("Unable to access file %s since it is locked", p), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	c := &countingWriter{ResponseWriter: w}
	var content io.ReadSeeker = f
	if fi.Size() >= vdisk.SegmentSize {
		whole, err := vdisk.Open(local)
		if err != nil {
			http.Error(w, "cannot read", http.StatusInternalServerError)
			return
		}
		defer whole.Close()
		content = io.NewSectionReader(whole, 0, whole.Size())
	}
	http.ServeContent(c, r, "", fi.ModTime(), content)
	if r.Method == http.MethodGet {
		s.stats.folder.Add(c.n)
	}
}

func listFolder(w http.ResponseWriter, dir *os.File) {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		http.Error(w, "cannot read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintln(w, "<html><body><table>")
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // parts of files that are one file here
		}
		name := html.EscapeString(e.Name())
		fmt.Fprintf(w, "<tr><td><a href=%q>%s</a></td></tr>\n", name, name)
	}
	fmt.Fprintln(w, "</table></body></html>")
}

func (s *Server) folderPut(w http.ResponseWriter, r *http.Request, p dsPath, local string) {
	if r.Header.Get("Content-Range") != "" {
		http.Error(w, "whole files only", http.StatusBadRequest)
		return
	}
	fi, err := os.Stat(local)
	exists := err == nil
	switch {
	case p.path == "" || exists && fi.IsDir():
		http.Error(w, "is a folder", http.StatusForbidden)
		return
	case exists && r.Method == http.MethodPost:
		http.Error(w, "exists", http.StatusConflict)
		return
	}
	if exclusive, shared := s.extentLocks(p); exclusive || shared {
		http.Error(w, fmt.Sprintf("Unable to access file %s since it is locked", p), http.StatusInternalServerError)
		return
	}
	err = s.room(p, p.datastore, max(r.ContentLength, 0))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(local), 0o700)
	}
	if err == nil {
		err = receiveFile(local, r.Body, r.ContentLength)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.store.forget(p)
	status := http.StatusCreated
	if exists {
		status = http.StatusOK
	}
	w.WriteHeader(status)
}

// receiveFile puts what r yields in the place of the file, sparsely.
func receiveFile(local string, r io.Reader, want int64) (err error) {
	name, err := os.CreateTemp(filepath.Dir(local), ".upload-*")
	if err != nil {
		return err
	}
	_ = name.Close()
	tmp, err := vdisk.OpenWriter(name.Name())
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, tmp.Close())
		if err != nil {
			_ = vdisk.Remove(name.Name())
			return
		}
		err = vdisk.Rename(name.Name(), local)
	}()
	buf := make([]byte, 16*blockSize)
	var off int64
	for {
		n, err := io.ReadFull(r, buf)
		if werr := writeSparse(tmp, buf[:n], off); werr != nil {
			return werr
		}
		off += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && (want < 0 || off == want) {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", off, err)
		}
	}
	if want >= 0 && off != want {
		return fmt.Errorf("got %d bytes of %d", off, want)
	}
	return tmp.Truncate(off)
}

func (s *Server) folderDelete(w http.ResponseWriter, p dsPath, local string) {
	fi, err := os.Stat(local)
	switch {
	case err != nil:
		http.Error(w, "not found", http.StatusNotFound)
		return
	case fi.IsDir():
		if p.path == "" || os.Remove(local) != nil {
			http.Error(w, "folder is not empty", http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if exclusive, shared := s.extentLocks(p); exclusive || shared {
		http.Error(w, fmt.Sprintf("Unable to access file %s since it is locked", p), http.StatusInternalServerError)
		return
	}
	if err := vdisk.Remove(local); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.store.forget(p)
	w.WriteHeader(http.StatusNoContent)
}
