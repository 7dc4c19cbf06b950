// Answers requests about mail, a JSON list on standard input, with the npm package `mailauth`, a JSON list on
// standard output. argv[2] is the folder of the package. See mailauth.py.
'use strict';

const [, , folder] = process.argv;
const { authenticate, sealMessage } = require(folder);
const { dkimSign } = require(`${folder}/lib/dkim/sign`);

const resolver = records => async (name, type) => {
    if (type === 'TXT' && records[name]) {
        return [[records[name]]];
    }
    const error = new Error(`${type} ${name} is not in the zone`);
    error.code = 'ENOTFOUND';
    throw error;
};

const operations = {
    async verify({ message, records }) {
        const { dkim, arc } = await authenticate(message, {
            ip: '192.0.2.1',
            helo: 'client.example.org',
            sender: '',
            mta: 'judge.example',
            disableDmarc: true,
            disableBimi: true,
            resolver: resolver(records)
        });
        return {
            dkim: dkim.results.map(each => ({ result: each.status.result, domain: each.signingDomain, comment: each.status.comment || '' })),
            arc: arc ? arc.status.result : 'none'
        };
    },

    async sign({ message, domain, selector, key, algorithm, canonicalization, length }) {
        const data = { signingDomain: domain, selector, privateKey: key, algorithm, canonicalization };
        if (length !== null) {
            data.maxBodyLength = length;
        }
        const { signatures, errors } = await dkimSign(message, { signatureData: [data] });
        if (errors.length) {
            throw errors[0].err || new Error(JSON.stringify(errors));
        }
        return { fields: signatures };
    },

    async seal({ message, domain, selector, key, results, status }) {
        const fields = await sealMessage(message, {
            signingDomain: domain,
            selector,
            privateKey: key,
            authResults: results,
            cv: status
        });
        return { fields: fields.toString() };
    }
};

(async () => {
    const chunks = [];
    for await (const chunk of process.stdin) {
        chunks.push(chunk);
    }
    const answers = [];
    for (const request of JSON.parse(Buffer.concat(chunks))) {
        const message = Buffer.from(request.message, 'base64');
        answers.push(await operations[request.operation]({ ...request, message }));
    }
    process.stdout.write(JSON.stringify(answers));
})();
