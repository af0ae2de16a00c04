"""What changed between two versions of the voice, for the person who reviews it: words, clips, rights, knobs, rates.

    snapshot   a version's files, from git or the work tree      outs       what DVC keeps, by its hash
    lock       dvc.lock, and which stages it is behind            rows       transcripts, read as they are
    lines      which line became which                            wording    which words of a line changed
    clips      cut anew, moved, or leaking                        compare    all of it together, as a Report
    document   a Report as headings, tables and lists             render     those as Markdown, HTML, plain text

Everything is read from git and from small tables; nothing needs the audio, and nothing imports a model's library.
"""
