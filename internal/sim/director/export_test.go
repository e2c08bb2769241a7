package director

// ParseFilter tells whether a filter is understood, for fuzzing.
func ParseFilter(s string, encoded bool) bool {
	f, err := parseFilter(s, encoded)
	if err == nil {
		f(&call{login: &login{org: &org{}}}, &record{attrs: []string{"name", "x", "href", "y"}})
	}
	return err == nil
}

// RequiredRights are the names in the table of what calls need.
func RequiredRights() []string {
	var out []string
	for _, q := range requirements() {
		out = append(out, q.rights...)
	}
	return out
}
