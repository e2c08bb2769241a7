package director

import "github.com/beevik/etree"

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
