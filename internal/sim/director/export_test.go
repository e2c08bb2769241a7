package director

import (
	"bytes"
	"context"
	"errors"

	"github.com/beevik/etree"
)

// ParseFilter tells whether a filter is understood, for fuzzing.
func ParseFilter(s string, encoded bool) bool {
	f, err := parseFilter(s, encoded)
	if err == nil {
		f(&call{login: &login{org: &org{}}}, &record{attrs: []string{"name", "x", "href", "y"}})
	}
	return err == nil
}

// JSONBody reads a body as JSON and writes the document that it stands for; an
// error only when what was read cannot be written.
func JSONBody(body []byte) error {
	e, err := (&call{body: body}).fromJSON(nsExt, "VMWProviderVdcParams")
	if err != nil {
		return nil //nolint:nilerr // a refusal is as good
	}
	nodeJSON(e)
	doc, err := document(e)
	if err != nil {
		return err
	}
	return etree.NewDocument().ReadFromBytes(doc)
}

// CheckSaved tells whether the inventory can be saved, and comes back as it was.
func (s *Server) CheckSaved() error {
	var first, second bytes.Buffer
	if err := s.encode(&first); err != nil {
		return err
	}
	loaded := newInventory()
	if err := s.codec.Load(bytes.NewReader(first.Bytes()), &loaded); err != nil {
		return err
	}
	if err := s.codec.Save(&second, &loaded); err != nil {
		return err
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		return errors.New("saved, loaded and saved again, the inventory is another one")
	}
	return nil
}

// Guarded runs work as a task's.
func (s *Server) Guarded(work func()) error {
	t := &task{user: s.systemUser(), org: s.systemOrg()}
	_, err := s.guarded(s.ctx, t, func(context.Context) error { work(); return nil })
	return err
}
