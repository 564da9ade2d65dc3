/* SPDX-License-Identifier: MIT
 *
 * neoq completion: what a shell needs to complete the words of a command line, made of the tables.
 */
#include "base/near.h"
#include "cli.h"
#include "option.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what may stand where ------------------------------------------------------------------ */

/* A command whose name is no word ("--") is not completed as one. */
static bool is_word(const command *of)
{
    return *of->name != '-';
}

/* The words that an argument of this command is one of, as in "[up|down]"; others are the user's own. */
static void put_subjects(const command *of)
{
    const char *between = "";
    if (strcmp(of->arguments, "[COMMAND]") == 0) {
        for (const command *const *at = commands; *at != NULL; at++) {
            if (is_word(*at)) {
                printf("%s%s", between, (*at)->name);
                between = " ";
            }
        }
    }
    if (strchr(of->arguments, '|') == NULL)
        return;
    for (const char *at = of->arguments; *at != '\0';) {
        size_t size = strcspn(at, " []|."), small = strspn(at, "abcdefghijklmnopqrstuvwxyz");
        if (size > 0 && small == size) {
            printf("%s%.*s", between, (int)size, at);
            between = " ";
        }
        at += size + (at[size] != '\0');
    }
}

static void put_choices(const char *choices)
{
    for (; *choices != '\0'; choices++)
        putchar(*choices == '|' ? ' ' : *choices);
}

static bool is_file(const option_spec *spec)
{
    return spec->argument != NULL && strcmp(spec->argument, "FILE") == 0;
}

/* Within single quotes, with a backslash before each of `special`. quote is what a single quote becomes. */
static void put_quoted(const char *text, const char *special, const char *quote)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            fputs(quote, stdout);
            continue;
        }
        if (strchr(special, *text) != NULL)
            putchar('\\');
        putchar(*text);
    }
}

/* ---- bash ---------------------------------------------------------------------------------- */

static void bash_values(const char *name, const option_spec *options)
{
    for (const option_spec *spec = options; spec != NULL && spec->name != NULL; spec++) {
        const char *choices = option_choices(spec);
        if (spec->argument == NULL)
            continue;
        printf("    %s:--%s", name, spec->name);
        if (spec->letter != 0)
            printf(" | %s:-%c", name, spec->letter);
        printf(") ");
        if (is_file(spec)) {
            puts("_neoq_files \"$word\"; return ;;");
        } else if (choices != NULL) {
            printf("choices='");
            put_choices(choices);
            puts("' ;;");
        } else {
            puts("return ;;");
        }
    }
}

static void bash_options(const option_spec *options)
{
    for (const option_spec *spec = options; spec != NULL && spec->name != NULL; spec++) {
        printf(" --%s", spec->name);
        if (spec->letter != 0)
            printf(" -%c", spec->letter);
    }
}

static void bash_functions(void)
{
    puts("# bash completion of neoq, made by: neoq completion bash\n"
         "_neoq_files()\n"
         "{\n"
         "    compopt -o filenames 2>/dev/null\n"
         "    mapfile -t COMPREPLY < <(compgen -f -- \"$1\")\n"
         "}\n"
         "\n"
         "# Behind -- stands a command of its own.\n"
         "_neoq_command()\n"
         "{\n"
         "    local i\n"
         "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "        [[ ${COMP_WORDS[i]} == -- ]] && break\n"
         "    done\n"
         "    if declare -F _command_offset >/dev/null; then\n"
         "        _command_offset $((i + 1))\n"
         "    elif ((COMP_CWORD == i + 1)); then\n"
         "        mapfile -t COMPREPLY < <(compgen -c -- \"$1\")\n"
         "    else\n"
         "        _neoq_files \"$1\"\n"
         "    fi\n"
         "}\n");
}

static void print_bash(void)
{
    bash_functions();
    puts("# By words that blanks part: bash itself would part them at : and =, too.\n"
         "_neoq()\n"
         "{\n"
         "    local line=${COMP_LINE:0:COMP_POINT} words word before command='' options='' choices='' i\n"
         "    COMPREPLY=()\n"
         "    read -ra words <<<\"$line\"\n"
         "    [[ $line == *[[:space:]] ]] && words+=('')\n"
         "    word=${words[${#words[@]} - 1]} before=${words[${#words[@]} - 2]}\n"
         "    if [[ $word == --*=* ]]; then\n"
         "        before=${word%%=*} word=${word#*=}\n"
         "    fi\n"
         "    for ((i = 1; i < ${#words[@]} - 1; i++)); do\n"
         "        case ${words[i]} in\n"
         "        --) _neoq_command \"$word\"; return ;;");
    for (const option_spec *spec = global_options; spec->name != NULL; spec++) {
        if (spec->argument != NULL)
            printf("        --%s) ((i++)) ;;\n", spec->name);
    }
    puts("        -*) ;;\n"
         "        *) command=${command:-${words[i]}} ;;\n"
         "        esac\n"
         "    done\n"
         "    case $command:$before in");
    bash_values("*", global_options);
    for (const command *const *of = commands; *of != NULL; of++)
        bash_values((*of)->name, (*of)->options);
    puts("    esac\n"
         "    if [[ -z $choices ]]; then\n"
         "        case $command in");
    printf("        '') choices='");
    for (const command *const *of = commands; *of != NULL; of++)
        printf("%s%s", is_word(*of) ? (*of)->name : "", is_word(*of) ? " " : "");
    puts("' ;;");
    for (const command *const *of = commands; *of != NULL; of++) {
        printf("        %s) choices='", (*of)->name);
        put_subjects(*of);
        printf("' options='");
        bash_options((*of)->options);
        puts("' ;;");
    }
    printf("        esac\n"
           "        [[ $word == -* ]] && choices=\"$options");
    bash_options(global_options);
    puts("\"\n"
         "    fi\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$choices\" -- \"$word\")\n"
         "}\n"
         "complete -F _neoq neoq");
}

/* ---- zsh ----------------------------------------------------------------------------------- */

static void zsh_text(const char *text)
{
    put_quoted(text, "[]:\\", "'\\''");
}

static void zsh_options(const option_spec *options, const char *margin)
{
    for (const option_spec *spec = options; spec != NULL && spec->name != NULL; spec++) {
        const char *choices = option_choices(spec), *value = spec->argument != NULL ? "=" : "";
        printf("%s", margin);
        if (spec->letter != 0)
            printf("'(-%c --%s)'{-%c%s,--%s%s}'[", spec->letter, spec->name, spec->letter, *value ? "+" : "",
                   spec->name, value);
        else
            printf("'--%s%s[", spec->name, value);
        zsh_text(spec->help);
        putchar(']');
        if (spec->argument != NULL) {
            putchar(':');
            zsh_text(choices != NULL ? spec->name : spec->argument);
            putchar(':');
        }
        if (choices != NULL) {
            putchar('(');
            put_choices(choices);
            putchar(')');
        } else if (spec->argument != NULL) {
            fputs(is_file(spec) ? "_files" : " ", stdout);
        }
        puts("'");
    }
}

static void print_zsh(void)
{
    puts("#compdef neoq\n"
         "# zsh completion of neoq, made by: neoq completion zsh\n"
         "_neoq()\n"
         "{\n"
         "    local curcontext=$curcontext context state state_descr line i\n"
         "    typeset -A opt_args\n"
         "    local -a commands everywhere own\n"
         "    commands=(");
    for (const command *const *of = commands; *of != NULL; of++) {
        if (is_word(*of)) {
            printf("        '%s:", (*of)->name);
            zsh_text((*of)->summary);
            puts("'");
        }
    }
    puts("    )\n"
         "    everywhere=(");
    zsh_options(global_options, "        ");
    puts("    )\n"
         "    i=${words[(i)--]}\n"
         "    if ((i < CURRENT)); then # behind it stands a command of its own\n"
         "        shift $i words\n"
         "        ((CURRENT -= i))\n"
         "        _normal\n"
         "        return\n"
         "    fi\n"
         "    _arguments -C $everywhere '1: :->command' '*:: :->rest' && return\n"
         "    if [[ $state == command ]]; then\n"
         "        _describe -t commands command commands\n"
         "        return\n"
         "    fi\n"
         "    case $words[1] in");
    for (const command *const *of = commands; *of != NULL; of++) {
        printf("    %s)\n        own=(\n", (*of)->name);
        zsh_options((*of)->options, "            ");
        printf("            '*:argument:(");
        put_subjects(*of);
        puts(")'\n        )\n        ;;");
    }
    puts("    esac\n"
         "    _arguments $everywhere $own\n"
         "}\n"
         "if [[ $funcstack[1] == _neoq ]]; then\n"
         "    _neoq \"$@\"\n"
         "else\n"
         "    compdef _neoq neoq\n"
         "fi");
}

/* ---- fish ---------------------------------------------------------------------------------- */

static void fish_text(const char *text)
{
    putchar('\'');
    put_quoted(text, "\\", "\\'");
    putchar('\'');
}

static void fish_options(const char *condition, const option_spec *options)
{
    for (const option_spec *spec = options; spec != NULL && spec->name != NULL; spec++) {
        const char *choices = option_choices(spec);
        printf("complete -c neoq%s -l %s", condition, spec->name);
        if (spec->letter != 0)
            printf(" -s %c", spec->letter);
        if (is_file(spec))
            printf(" -r -F");
        else if (spec->argument != NULL)
            printf(" -x");
        if (choices != NULL) {
            printf(" -a '");
            put_choices(choices);
            putchar('\'');
        }
        printf(" -d ");
        fish_text(spec->help);
        putchar('\n');
    }
}

static void print_fish(void)
{
    puts("# fish completion of neoq, made by: neoq completion fish\n"
         "# Whether the command is this one; '' = there is none yet.\n"
         "function __neoq_command --argument-names wanted\n"
         "    set -l words (commandline -opc)\n"
         "    set -e words[1]\n"
         "    while set -q words[1]\n"
         "        switch $words[1]");
    printf("            case");
    for (const option_spec *spec = global_options; spec->name != NULL; spec++) {
        if (spec->argument != NULL)
            printf(" --%s", spec->name);
    }
    puts("\n"
         "                set -e words[1]\n"
         "            case '-*'\n"
         "            case '*'\n"
         "                test \"$words[1]\" = \"$wanted\"\n"
         "                return\n"
         "        end\n"
         "        set -e words[1]\n"
         "    end\n"
         "    test -z \"$wanted\"\n"
         "end\n"
         "# Behind -- stands a command of its own.\n"
         "function __neoq_behind_dashes\n"
         "    set -l words (commandline -opc) (commandline -ct)\n"
         "    set -l at (contains -i -- -- $words); or return\n"
         "    complete -C (string escape -- $words[(math $at + 1)..-1] | string join ' ')\n"
         "end\n"
         "complete -c neoq -f\n"
         "complete -c neoq -n 'contains -- -- (commandline -opc)' -a '(__neoq_behind_dashes)'");
    fish_options("", global_options);
    for (const command *const *of = commands; *of != NULL; of++) {
        char condition[96];
        if (is_word(*of)) {
            printf("complete -c neoq -n \"__neoq_command ''\" -a %s -d ", (*of)->name);
            fish_text((*of)->summary);
            putchar('\n');
        }
        snprintf(condition, sizeof condition, " -n '__neoq_command %s'", (*of)->name);
        fish_options(condition, (*of)->options);
        printf("complete -c neoq%s -a '", condition);
        put_subjects(*of);
        puts("'");
    }
}

/* ---- the command --------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*print)(void);
} shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
enum { SHELL_COUNT = sizeof shells / sizeof shells[0] };

static int run_completion(session *s, int argc, char **argv)
{
    const char *names[SHELL_COUNT], *near;
    int first = args_read(s, &command_completion, NULL, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (argc - first != 1)
        return complain_usage(s, "completion takes one shell, and got %d: bash, zsh or fish", argc - first);
    for (size_t i = 0; i < SHELL_COUNT; i++) {
        names[i] = shells[i].name;
        if (strcmp(argv[first], names[i]) == 0) {
            shells[i].print();
            return EXIT_DONE;
        }
    }
    near = nq_near(argv[first], names, SHELL_COUNT);
    return complain_usage(s, "completion: there is none for '%s': %s%s", argv[first],
                          near != NULL ? "did you mean " : "bash, zsh and fish have one", near != NULL ? near : "");
}

const command command_completion = {
    .name = "completion",
    .arguments = "bash|zsh|fish",
    .summary = "Prints the completion of a shell, made of the same tables as the help.",
    .details = "An installed neoq has put it where each shell looks. For a neoq that was not installed:\n"
               "\n"
               "  source <(neoq completion bash)\n"
               "  source <(neoq completion zsh)\n"
               "  neoq completion fish | source",
    .run = run_completion,
    .bare = true,
};
