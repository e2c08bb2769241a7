package director

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A remote is a package that the server fetches itself (sourceHref of
// UploadVAppTemplateParams): a descriptor, whose files lie beside it, or all of
// them in one .ova.
type remote struct {
	s     *Server
	up    *transfer
	at    *url.URL
	ova   string // path of the fetched .ova
	parts map[string]extent
}

// An extent is a file inside an .ova.
type extent struct{ from, size int64 }

// remoteAt is the package at a URL. Which transfer it is for is said later.
func (s *Server) remoteAt(href string) (*remote, error) {
	u, err := url.Parse(href)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, badRequest("The source %q is not a URL that can be fetched.", href)
	}
	return &remote{s: s, at: u}, nil
}

// get fetches one file of the transfer.
func (r *remote) get(ctx context.Context, f *transferFile) error {
	dir, err := r.s.spool.folder(r.up)
	if err != nil {
		return err
	}
	to := filepath.Join(dir, strconv.Itoa(slices.Index(r.up.files, f)))
	if strings.EqualFold(path.Ext(r.at.Path), ".ova") {
		err = r.unpack(ctx, f.name, to)
	} else {
		err = r.beside(ctx, f, to)
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(to)
	if err != nil {
		return err
	}
	if f.size >= 0 && info.Size() != f.size {
		return badRequest("The file %s of %s has %d bytes, not %d.", f.name, r.at, info.Size(), f.size)
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	f.path, f.size, f.got, f.done, r.up.touched = to, info.Size(), info.Size(), true, time.Now()
	return nil
}

// beside fetches a file that lies beside the descriptor, which may be in pieces
// (DSP0243, 7.1: NAME.000000000 and so on).
func (r *remote) beside(ctx context.Context, f *transferFile, to string) error {
	switch {
	case f.name == descriptorName && f == r.up.files[0]:
		return r.download(ctx, r.at, to, maxDescriptor)
	case f.name == manifestName:
		u := *r.at
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, path.Ext(u.Path))+".mf", ""
		return r.download(ctx, &u, to, maxDescriptor)
	case f.chunk <= 0 || f.size <= f.chunk:
		u, err := r.at.Parse(f.name)
		if err != nil {
			return badRequest("The package names the file %q, which is no reference.", f.name)
		}
		return r.download(ctx, u, to, f.size)
	}
	for n := int64(0); n*f.chunk < f.size; n++ {
		u, err := r.at.Parse(fmt.Sprintf("%s.%09d", f.name, n))
		if err != nil {
			return badRequest("The package names the file %q, which is no reference.", f.name)
		}
		if err := r.download(ctx, u, to, f.size); err != nil {
			return err
		}
	}
	return nil
}

// download adds what is at a URL to a file, limit bytes at most; -1 is any
// number.
func (r *remote) download(ctx context.Context, u *url.URL, to string, limit int64) error {
	ctx, cancel := context.WithTimeout(ctx, r.up.deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return badRequest("The file %s cannot be fetched: %s", u, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return badRequest("The file %s cannot be fetched: %s", u, resp.Status)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	var in io.Reader = resp.Body
	if limit >= 0 {
		in = io.LimitReader(in, limit+1)
	}
	n, err := io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return badRequest("The file %s broke off after %d bytes.", u, n)
	}
	if limit >= 0 && n > limit {
		return badRequest("The file %s has more than %d bytes.", u, limit)
	}
	return nil
}

// unpack takes a file out of the .ova, which is fetched with the first one.
func (r *remote) unpack(ctx context.Context, name, to string) error {
	if r.ova == "" {
		r.ova = to + ".ova"
		if err := r.download(ctx, r.at, r.ova, -1); err != nil {
			return err
		}
		if err := r.index(); err != nil {
			return err
		}
	}
	part, found := r.parts[name]
	if !found {
		return badRequest("The package %s has no file %s.", r.at, name)
	}
	in, err := os.Open(r.ova)
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err == nil {
		_, err = io.Copy(out, io.NewSectionReader(in, part.from, part.size))
		err = errors.Join(err, out.Close())
	}
	return errors.Join(err, in.Close())
}

// index finds the files of an .ova: the descriptor and the manifest get the
// names that the server has for them.
func (r *remote) index() error {
	in, err := os.Open(r.ova)
	if err != nil {
		return err
	}
	defer in.Close()
	r.parts = map[string]extent{}
	files := tar.NewReader(in)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return badRequest("The package %s is no archive: %s", r.at, err)
		}
		// Without a buffer in between, the archive is where its content begins.
		from, err := in.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		name := h.Name
		switch strings.ToLower(path.Ext(name)) {
		case ".ovf":
			name = descriptorName
		case ".mf":
			name = manifestName
		}
		r.parts[name] = extent{from, h.Size}
	}
}
