package restorepoint

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"path"
	"strings"
)

// A place is a range of bytes in a document that holds a secret.
type place struct{ from, to int }

// learn collects the keys of the OVF properties that are passwords: what an
// environment says of them, and vSphere, does not tell so.
func learn(doc []byte, into map[string]bool) error {
	class, instance := "", ""
	return walkTags(doc, func(e xml.StartElement, _ int, _ []byte) {
		switch e.Name.Local {
		case "ProductSection":
			class, instance = attribute(e, "class"), attribute(e, "instance")
		case "Property":
			if !isTrue(attribute(e, "password")) {
				return
			}
			// [class.]key[.instance], as DSP0243 names properties in an
			// environment; vSphere has the key alone.
			key := attribute(e, "key")
			for _, k := range []string{key, class + "." + key, key + "." + instance, class + "." + key + "." + instance} {
				into[k] = true
			}
		}
	})
}

// walkTags calls f for each start tag with its offset and text.
func walkTags(doc []byte, f func(e xml.StartElement, at int, tag []byte)) error {
	d := xml.NewDecoder(bytes.NewReader(doc))
	for {
		before := int(d.InputOffset())
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if e, is := token.(xml.StartElement); is {
			f(e, before, doc[before:d.InputOffset()])
		}
	}
}

// places finds secrets that are no text of an element of their own.
func places(name string, doc []byte, keys map[string]bool) ([]place, error) {
	switch path.Ext(name) {
	case ".xml":
		return xmlPlaces(doc, keys)
	case ".vmx":
		return vmxPlaces(doc), nil
	case ".json":
		return jsonPlaces(doc)
	}
	return nil, nil
}

// A pair is a key and what belongs to it, as vSphere writes options and OVF
// properties: elements beside each other.
type pair struct {
	depth  int
	secret bool
	values []place
}

// A finder goes through an XML document and collects places.
type finder struct {
	keys     map[string]bool
	open     []string
	property int // depth of an OVF property that is a password; 0 for none
	pair     *pair
	text     int // where the text of the innermost element begins
	found    []place
}

func xmlPlaces(doc []byte, keys map[string]bool) ([]place, error) {
	d := xml.NewDecoder(bytes.NewReader(doc))
	f := &finder{keys: keys}
	for {
		before := int(d.InputOffset())
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return f.found, nil
		}
		if err != nil {
			return nil, err
		}
		after := int(d.InputOffset())
		switch t := token.(type) {
		case xml.StartElement:
			f.start(t, doc, before, after)
		case xml.EndElement:
			f.end(doc, before)
		}
	}
}

func (f *finder) inside(name string) bool {
	for _, o := range f.open {
		if o == name {
			return true
		}
	}
	return false
}

func (f *finder) start(e xml.StartElement, doc []byte, before, after int) {
	f.open = append(f.open, e.Name.Local)
	f.text = after
	depth := len(f.open)
	value := func() {
		if p, ok := attributePlace(doc[before:after], "value"); ok {
			f.add(place{before + p.from, before + p.to})
		}
	}
	switch e.Name.Local {
	case "Property":
		switch {
		case isTrue(attribute(e, "password")):
			f.property = depth
			value()
		case f.inside("PropertySection") && f.keys[attribute(e, "key")]:
			value()
		}
	case "ExtraConfig": // of an OVF hardware section
		if IsSecretOption(attribute(e, "key")) {
			value()
		}
	case "Value":
		if f.property > 0 && depth == f.property+1 {
			value()
		}
	case "extraConfig", "property": // OptionValue, VAppPropertyInfo
		if f.pair == nil {
			f.pair = &pair{depth: depth}
		}
	}
}

func (f *finder) end(doc []byte, before int) {
	depth := len(f.open)
	if depth == 0 {
		return
	}
	name := f.open[depth-1]
	f.open = f.open[:depth-1]
	if f.property == depth {
		f.property = 0
	}
	p := f.pair
	switch {
	case p == nil || before < f.text:
	case depth == p.depth:
		if p.secret {
			for _, v := range p.values {
				f.add(v)
			}
		}
		f.pair = nil
	case depth == p.depth+1:
		p.field(name, doc, place{f.text, before}, f)
	}
	f.text = before
}

// field reads one of the elements of a pair.
func (p *pair) field(name string, doc []byte, at place, f *finder) {
	text := string(doc[at.from:at.to])
	option := f.open[len(f.open)-1] == "extraConfig"
	switch name {
	case "key":
		p.secret = p.secret || option && IsSecretOption(text)
	case "id":
		p.secret = p.secret || !option && f.keys[text]
	case "type":
		p.secret = p.secret || !option && strings.HasPrefix(text, "password")
	case "value", "defaultValue":
		p.values = append(p.values, at)
	}
}

func (f *finder) add(p place) {
	if p.to > p.from {
		f.found = append(f.found, p)
	}
}

// secretOptions are keys of a VM's extra configuration that hold passwords or
// keys: an OVF environment has the passwords of the guest's properties, what
// cloud-init reads those of its users.
var secretOptions = []string{
	"guestinfo.ovfenv", "guestinfo.userdata", "guestinfo.vendordata", "guestinfo.metadata", "guestinfo.ignition.config.data",
	"guestinfo.coreos.config.data", "remotedisplay.vnc.key", "encryption.bundle", "encryption.keysafe", "datafilekey",
}

// secretWords make any key secret that has one of them.
var secretWords = []string{"password", "passwd", "secret", "privatekey", "private_key", "private-key", "apikey", "api_key", "api-key", "token"}

// IsSecretOption tells whether the value of an option of a VM's extra
// configuration is a password or key, or has some in it.
func IsSecretOption(key string) bool {
	key = strings.ToLower(key)
	for _, o := range secretOptions {
		if key == o {
			return true
		}
	}
	for _, w := range secretWords {
		if strings.Contains(key, w) {
			return true
		}
	}
	return false
}

// vmxPlaces finds them in a .vmx, which has a key = "value" in each line.
func vmxPlaces(doc []byte) []place {
	var found []place
	for from := 0; from < len(doc); {
		end := len(doc)
		if n := bytes.IndexByte(doc[from:], '\n'); n >= 0 {
			end = from + n
		}
		line := doc[from:end]
		key, value, ok := bytes.Cut(line, []byte("="))
		first, last := bytes.IndexByte(value, '"'), bytes.LastIndexByte(value, '"')
		if ok && last > first+1 && IsSecretOption(string(bytes.TrimSpace(key))) {
			at := from + len(key) + 1
			found = append(found, place{at + first + 1, at + last})
		}
		from = end + 1
	}
	return found
}

// jsonPlaces finds the strings that a JSON document has under a secret name.
func jsonPlaces(doc []byte) ([]place, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	var found []place
	var inObject []bool // of each open bracket
	key, isKey := "", false
	for {
		before := int(d.InputOffset())
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		within := len(inObject) > 0 && inObject[len(inObject)-1]
		switch t := token.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				inObject = append(inObject, t == '{')
				isKey = t == '{'
				continue
			}
			inObject = inObject[:len(inObject)-1]
			isKey = len(inObject) > 0 && inObject[len(inObject)-1]
			continue
		case string:
			if within && isKey {
				key, isKey = t, false
				continue
			}
			if within && IsSecretOption(strings.ReplaceAll(key, "preSharedKey", "secret")) {
				end := int(d.InputOffset())
				if first := bytes.IndexByte(doc[before:end], '"'); first >= 0 && before+first+1 < end-1 {
					found = append(found, place{before + first + 1, end - 1})
				}
			}
		}
		isKey = within
	}
}

// attributePlace finds the value of an attribute, by its local name, in the
// text of a tag.
func attributePlace(tag []byte, local string) (place, bool) {
	i := bytes.IndexAny(tag, " \t\r\n")
	for i >= 0 && i < len(tag) {
		eq := bytes.IndexByte(tag[i:], '=')
		if eq < 0 {
			return place{}, false
		}
		name := string(bytes.TrimSpace(tag[i : i+eq]))
		open := i + eq + 1
		for open < len(tag) && tag[open] != '"' && tag[open] != '\'' {
			open++
		}
		if open >= len(tag) {
			return place{}, false
		}
		length := bytes.IndexByte(tag[open+1:], tag[open])
		if length < 0 {
			return place{}, false
		}
		from, to := open+1, open+1+length
		if name[strings.LastIndexByte(name, ':')+1:] == local && !strings.HasPrefix(name, "xmlns:") {
			return place{from, to}, true
		}
		i = to + 1
	}
	return place{}, false
}

func attribute(e xml.StartElement, local string) string {
	for _, a := range e.Attr {
		if a.Name.Local == local && a.Name.Space != "xmlns" {
			return a.Value
		}
	}
	return ""
}

func isTrue(s string) bool { return s == "true" || s == "1" }
