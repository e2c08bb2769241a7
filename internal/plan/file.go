package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// FileVersion is the version of the plan files that this program writes and
// reads.
const FileVersion = 1

// A File is a saved plan: what was asked for, and what came of it. It holds no
// secrets, but names and addresses.
type File struct {
	Version int             `json:"version"`
	Point   string          `json:"point"` // id of the restore point
	Options Options         `json:"options"`
	Plan    json.RawMessage `json:"plan"`
}

// Save writes a plan file.
func (p *Plan) Save() ([]byte, error) {
	computed, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode the plan: %w", err)
	}
	raw, err := json.MarshalIndent(File{FileVersion, p.Point.ID, p.options, computed}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the plan: %w", err)
	}
	return append(raw, '\n'), nil
}

// ParseFile reads a plan file.
func ParseFile(raw []byte) (*File, error) {
	var f File
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	switch {
	case f.Version != FileVersion:
		return nil, fmt.Errorf("version %d: this program reads %d", f.Version, FileVersion)
	case f.Point == "" || len(f.Plan) == 0:
		return nil, errors.New("not a plan")
	}
	return &f, f.Options.Overrides.Check()
}

// Check compares a plan that was computed again with the saved one:
// ErrConflict, with what differs, where another thing would be done. How a
// conflict is worded may differ: it tells of free bytes and the like.
func (f *File) Check(p *Plan) error {
	now, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	was, err := decisions(f.Plan)
	if err != nil {
		return fmt.Errorf("the saved plan: %w", err)
	}
	is, err := decisions(now)
	if err != nil {
		return err
	}
	var differ []string
	fields := maps.Clone(was)
	maps.Copy(fields, is)
	for _, field := range sortedKeys(fields) {
		if was[field] != is[field] {
			differ = append(differ, fmt.Sprintf("%s was %s, is %s", field, orElse(was[field], "nothing"), orElse(is[field], "nothing")))
		}
	}
	if len(differ) == 0 {
		return nil
	}
	return fmt.Errorf("%w: the cloud has changed since the plan was saved: %s", ErrConflict, strings.Join(differ, "; "))
}

// decisions flattens a plan to what it decides: field -> value.
func decisions(raw []byte) (map[string]string, error) {
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, err
	}
	delete(tree, "steps") // they say the same in words
	if conflicts, is := tree["conflicts"].([]any); is {
		for _, c := range conflicts {
			if m, is := c.(map[string]any); is {
				delete(m, "message")
			}
		}
	}
	out := map[string]string{}
	flatten(out, "", tree)
	return out, nil
}

func flatten(out map[string]string, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for k, e := range v {
			flatten(out, strings.TrimPrefix(path+"."+k, "."), e)
		}
	case []any:
		seen := map[string]int{}
		for i, e := range v {
			key := element(e, i)
			if seen[key]++; seen[key] > 1 {
				key = fmt.Sprintf("%s#%d", key, seen[key])
			}
			flatten(out, path+"["+key+"]", e)
		}
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			raw = []byte(fmt.Sprint(v))
		}
		out[path] = string(raw)
	}
}

// element tells the elements of a list apart: by what names them, else by
// their place.
func element(e any, i int) string {
	m, is := e.(map[string]any)
	if !is {
		return fmt.Sprint(i)
	}
	var parts []string
	for _, key := range []string{"kind", "name", "object", "index"} {
		if v, has := m[key]; has {
			parts = append(parts, fmt.Sprint(v))
		}
	}
	if len(parts) == 0 {
		return fmt.Sprint(i)
	}
	return strings.Join(slices.Compact(parts), " ")
}
