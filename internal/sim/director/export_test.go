package director

import (
	"bytes"
	"errors"
)

// ParseFilter tells whether a filter is understood, for fuzzing.
func ParseFilter(s string, encoded bool) bool {
	f, err := parseFilter(s, encoded)
	if err == nil {
		f(&call{login: &login{org: &org{}}}, &record{attrs: []string{"name", "x", "href", "y"}})
	}
	return err == nil
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
