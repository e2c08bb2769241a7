package director

import (
	"encoding/json"
	"fmt"
	"mime"
	"slices"
	"strings"
	"unicode"

	"github.com/beevik/etree"
)

// wantsJSON tells whether a call to the vCloud API speaks JSON, as routes that
// allow it may be: every element is a member named like it, with a small first
// letter, and so is every attribute.
func (c *call) wantsJSON(rt route) bool {
	if !rt.json || strings.HasPrefix(c.r.URL.Path, "/cloudapi/") {
		return false
	}
	for one := range strings.SplitSeq(c.r.Header.Get("Accept"), ",") {
		if typ, _, err := mime.ParseMediaType(strings.TrimSpace(one)); err == nil && strings.HasSuffix(typ, "+json") {
			return true
		}
	}
	return false
}

// sentJSON tells whether the body is JSON.
func (c *call) sentJSON() bool {
	typ, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	return err == nil && strings.HasSuffix(typ, "+json")
}

// nodeJSON is a document as JSON. Elements that come more than once are lists,
// and so are those that lists name.
func nodeJSON(e *node) any {
	kids := e.ChildElements()
	if len(kids) == 0 && len(e.Attr) == 0 {
		return scalarJSON(strings.TrimSpace(allText(e)))
	}
	out := map[string]any{"_type": e.Tag + "Type"}
	for _, a := range e.Attr {
		if a.Space != "xmlns" && a.Key != "xmlns" {
			out[a.Key] = scalarJSON(a.Value)
		}
	}
	count := map[string]int{}
	for _, k := range kids {
		count[k.Tag]++
	}
	for _, k := range kids {
		name := lowerFirst(k.Tag)
		if count[k.Tag] > 1 || listElements[k.Tag] {
			list, _ := out[name].([]any)
			out[name] = append(list, nodeJSON(k))
			continue
		}
		out[name] = nodeJSON(k)
	}
	return out
}

// listElements are lists even where there is one.
var listElements = map[string]bool{
	"Link": true, "Task": true, "VimObjectRef": true, "ProviderVdcStorageProfile": true, "NetworkPoolReference": true, "VimServer": true, "HostReference": true,
	"SupportedHardwareVersion": true,
}

func scalarJSON(s string) any {
	switch s {
	case "true":
		return true
	case "false":
		return false
	}
	if n := json.Number(s); s != "" && strings.Trim(s, "0123456789-") == "" {
		if v, err := n.Int64(); err == nil {
			return v
		}
	}
	return s
}

func lowerFirst(s string) string {
	r := []rune(s)
	if len(r) > 0 {
		r[0] = unicode.ToLower(r[0])
	}
	return string(r)
}

// jsonAttrs are the members that are attributes in XML.
var jsonAttrs = []string{"href", "id", "name", "type", "operationKey", "status", "rel", "primary"}

// fromJSON reads a JSON body as the element of that name, in the order of the
// grammar. What it does not know it leaves out, as real installations do.
func (c *call) fromJSON(ns, name string) (*node, error) {
	var body map[string]any
	if err := json.Unmarshal(c.body, &body); err != nil {
		return nil, badRequest("Bad request\n - Unexpected JSON exception\n - The document is not well-formed.")
	}
	e := jsonElement(name, name, body)
	e.CreateAttr("xmlns", nsVCloud)
	if ns == nsExt {
		e.CreateAttr("xmlns:vmext", nsExt)
		e.Space = "vmext"
	}
	doc := etree.NewDocument()
	doc.SetRoot(e)
	if err := check(e, name); err != nil {
		return nil, err
	}
	return canon(e), nil
}

func jsonElement(tag, typ string, body map[string]any) *node {
	e := etree.NewElement(tag)
	for _, a := range jsonAttrs {
		if v, has := body[a]; has && v != nil {
			if _, object := v.(map[string]any); !object {
				e.CreateAttr(a, fmt.Sprint(v))
			}
		}
	}
	for _, f := range rules()[typ].fields {
		for _, name := range f.names {
			v, has := body[lowerFirst(name)]
			if !has || v == nil {
				continue
			}
			list, many := v.([]any)
			if !many {
				list = []any{v}
			}
			for _, one := range list {
				k := jsonValue(name, f.typ, one)
				if slices.Contains(f.ns, nsExt) {
					k.Space = "vmext"
				}
				e.AddChild(k)
			}
		}
	}
	return e
}

func jsonValue(tag, typ string, v any) *node {
	if object, is := v.(map[string]any); is {
		if _, known := rules()[typ]; known {
			return jsonElement(tag, typ, object)
		}
		return etree.NewElement(tag)
	}
	e := etree.NewElement(tag)
	if n, is := v.(float64); is {
		e.SetText(strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%f", n), "0"), "."))
		return e
	}
	e.SetText(fmt.Sprint(v))
	return e
}
